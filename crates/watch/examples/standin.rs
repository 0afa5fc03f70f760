//! A stand-in for many servers, for `make bench-watch`: `standin REAL FIRST_PORT COUNT`.
//!
//! It listens on COUNT ports and answers every command with the bytes that a real server (REAL, `host:port`) gave to the
//! same command within the last minute, but for its run id, which is each port's own. It is no server: it holds no data.
#![expect(clippy::print_stdout, reason = "a tool for a terminal")]

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

type Failed = Box<dyn std::error::Error + Send + Sync>;
type Answers = Arc<Mutex<HashMap<Vec<u8>, (Instant, Arc<[u8]>)>>>;

const FRESH: Duration = Duration::from_secs(60);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failed> {
    let mut args = std::env::args().skip(1);
    let usage = "usage: standin REAL FIRST_PORT COUNT";
    let real = args.next().ok_or(usage)?;
    let first: u16 = args.next().ok_or(usage)?.parse()?;
    let count: u16 = args.next().ok_or(usage)?.parse()?;
    let answers = Answers::default();
    for port in first..first + count {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let (answers, real) = (Arc::clone(&answers), real.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answers, real) = (Arc::clone(&answers), real.clone());
                // A client that goes away is the usual end.
                tokio::spawn(async move { drop(serve(stream, port, &answers, &real).await) });
            }
        });
    }
    println!("{count} ports from {first}");
    std::future::pending::<()>().await;
    Ok(())
}

async fn serve(
    mut client: TcpStream,
    port: u16,
    answers: &Answers,
    real: &str,
) -> Result<(), Failed> {
    let (mut buffer, mut chunk) = (vec![], [0u8; 4096]);
    loop {
        while let Some(length) = command_length(&buffer) {
            let command: Vec<u8> = buffer.drain(..length).collect();
            let answer = answer(&command, answers, real).await?;
            client.write_all(&named(&answer, port)).await?;
        }
        let n = client.read(&mut chunk).await?;
        if n == 0 {
            return Ok(());
        }
        buffer.extend_from_slice(chunk.get(..n).unwrap_or_default());
    }
}

/// The answer with a run id of this port's own, of the same length.
fn named(answer: &[u8], port: u16) -> Cow<'_, [u8]> {
    let key = b"\nrun_id:";
    let Some(at) = answer.windows(key.len()).position(|w| w == key) else {
        return Cow::Borrowed(answer);
    };
    let mut own = answer.to_vec();
    let number = format!("{port:05}");
    if let Some(place) = own.get_mut(at + key.len()..at + key.len() + number.len()) {
        place.copy_from_slice(number.as_bytes());
    }
    Cow::Owned(own)
}

async fn answer(command: &[u8], answers: &Answers, real: &str) -> Result<Arc<[u8]>, Failed> {
    let mut kept = answers.lock().await;
    if let Some((at, answer)) = kept.get(command)
        && at.elapsed() < FRESH
    {
        return Ok(Arc::clone(answer));
    }
    // One connection a question, and PING behind it: its answer marks the end of the one before.
    let mut server = TcpStream::connect(real).await?;
    server.write_all(command).await?;
    server.write_all(b"*2\r\n$4\r\nECHO\r\n$9\r\nstandin%%\r\n").await?;
    let (mut reply, mut chunk) = (vec![], vec![0u8; 65536]);
    let end = b"$9\r\nstandin%%\r\n";
    while !reply.ends_with(end) {
        let n = server.read(&mut chunk).await?;
        if n == 0 {
            return Err("the real server closed".into());
        }
        reply.extend_from_slice(chunk.get(..n).unwrap_or_default());
    }
    reply.truncate(reply.len() - end.len());
    let answer: Arc<[u8]> = reply.into();
    kept.insert(command.to_vec(), (Instant::now(), Arc::clone(&answer)));
    Ok(answer)
}

/// Bytes of the first command in the buffer, once it is there whole. Clients send arrays of bulk strings.
fn command_length(buffer: &[u8]) -> Option<usize> {
    let line = |from: usize| -> Option<(usize, usize)> {
        let rest = buffer.get(from..)?;
        let end = rest.windows(2).position(|w| w == b"\r\n")?;
        let number = std::str::from_utf8(rest.get(1..end)?).ok()?.parse().ok()?;
        Some((number, from + end + 2))
    };
    let (words, mut at) = line(0)?;
    for _ in 0..words {
        let (length, begin) = line(at)?;
        at = begin + length + 2;
    }
    (buffer.len() >= at).then_some(at)
}
