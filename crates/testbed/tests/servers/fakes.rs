//! The fakes do what they are said to do, and end.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use unfrag_testbed::measure;
use unfrag_testbed::misbehaving::{Fault, Misbehaving};

/// What a client gets within a moment, and whether the connection was closed then.
fn ask(fake: &Misbehaving, limit: usize) -> (Vec<u8>, bool) {
    let mut stream = TcpStream::connect(("127.0.0.1", fake.port())).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
    stream.write_all(b"*1\r\n$4\r\nPING\r\n").unwrap();
    let (mut got, mut buffer) = (vec![], vec![0; 64 << 10]);
    while got.len() < limit {
        match stream.read(&mut buffer) {
            Ok(0) => return (got, true),
            Ok(count) => got.extend_from_slice(buffer.get(..count).unwrap()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return (got, true),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return (got, false),
        }
    }
    (got, false)
}

#[test]
fn each_goes_wrong_in_its_own_way() {
    let of = |fault| ask(&Misbehaving::start(fault).unwrap(), 1 << 20);
    assert_eq!(of(Fault::Hangs), (vec![], false));
    assert_eq!(of(Fault::ClosesHalfway), (b"$100\r\nused_mem".to_vec(), true));
    assert!(of(Fault::Garbage).0.starts_with(b"\x16\x03"));
    assert_eq!(of(Fault::HugeLength), (b"$2147483648\r\nxxxx".to_vec(), false));
    let (text, closed) = of(Fault::Http);
    assert!(text.starts_with(b"HTTP/1.1 400 ") && closed);
    let (endless, closed) = of(Fault::Endless);
    assert!(endless.len() >= 1 << 20 && endless.starts_with(b"+x") && !closed);
    assert!(!endless.contains(&b'\n'));
}

#[test]
fn each_ends_with_a_client_still_connected() {
    for fault in [Fault::Hangs, Fault::Endless] {
        let fake = Misbehaving::start(fault).unwrap();
        let mut client = TcpStream::connect(("127.0.0.1", fake.port())).unwrap();
        client.write_all(b"PING\r\n").unwrap();
        drop(fake);
        // Whoever asks for a port now may be given this one: that it has ended shows on the connection.
        client.set_read_timeout(Some(measure::PATIENCE)).unwrap();
        let end = client.read_to_end(&mut vec![]).map_err(|e| e.kind());
        assert!(matches!(end, Ok(_) | Err(ErrorKind::ConnectionReset)), "{fault:?} {end:?}");
    }
}
