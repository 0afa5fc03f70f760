//! Fakes, and said to be: listeners that behave as no real server can be made to on demand.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// What goes wrong once a client has sent something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Never answers.
    Hangs,
    /// Closes in the middle of a reply.
    ClosesHalfway,
    /// Sends bytes that are no protocol.
    Garbage,
    /// Promises a reply of 2 GB.
    HugeLength,
    /// Sends a reply that never ends.
    Endless,
    /// Is a web server.
    Http,
}

/// A listener on loopback that goes wrong in one way; dropping it ends its threads.
#[derive(Debug)]
pub struct Misbehaving {
    port: u16,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Longest life of one connection, whatever the client does.
const CONNECTION_LIFE: Duration = Duration::from_secs(30);

impl Misbehaving {
    /// Listens.
    pub fn start(fault: Fault) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let port = listener.local_addr()?.port();
        listener.set_nonblocking(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || accept(&listener, fault, &stopped));
        Ok(Self { port, stop, thread: Some(thread) })
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Misbehaving {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, fault: Fault, stop: &Arc<AtomicBool>) {
    let mut connections = vec![];
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => {
                let stop = Arc::clone(stop);
                connections.push(std::thread::spawn(move || {
                    // A client that goes away is what is being tested.
                    let _ = serve(stream, fault, &stop);
                }));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
    for connection in connections {
        let _ = connection.join();
    }
}

fn serve(mut stream: TcpStream, fault: Fault, stop: &AtomicBool) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_millis(50)))?;
    stream.set_write_timeout(Some(Duration::from_millis(200)))?;
    let started = std::time::Instant::now();
    let mut buffer = [0; 4096];
    while !stop.load(Ordering::Relaxed) && started.elapsed() < CONNECTION_LIFE {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(_) => {
                let over = || stop.load(Ordering::Relaxed) || started.elapsed() >= CONNECTION_LIFE;
                if !answer(&mut stream, fault, over)? {
                    return Ok(());
                }
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// True while the connection stays open.
fn answer(stream: &mut TcpStream, fault: Fault, over: impl Fn() -> bool) -> std::io::Result<bool> {
    match fault {
        Fault::Hangs => Ok(true),
        Fault::ClosesHalfway => stream.write_all(b"$100\r\nused_mem").map(|()| false),
        Fault::Garbage => {
            stream.write_all(b"\x16\x03\x01\xff\xfe garbage \x00\x01\r\n").map(|()| true)
        }
        Fault::HugeLength => stream.write_all(b"$2147483648\r\nxxxx").map(|()| true),
        Fault::Http => stream
            .write_all(
                b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            )
            .map(|()| false),
        Fault::Endless => {
            stream.write_all(b"+")?;
            let chunk = vec![b'x'; 65536];
            while !over() {
                stream.write_all(&chunk)?;
            }
            Ok(false)
        }
    }
}
