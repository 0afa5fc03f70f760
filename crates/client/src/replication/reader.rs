//! [`SnapshotReader`]: a snapshot as a [`Read`], for who reads without async. A thread of its own receives.

use super::snapshot;
use crate::ConnectOptions;
use crate::error::ClientError;
use crate::target::Address;
use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// Chunks in flight: with 256 KiB each, 8 MiB. A reader that is slower than the server holds the server's child up,
/// and with it the memory that copy-on-write takes.
const CHUNKS_IN_FLIGHT: usize = 32;

/// What the thread hands over.
enum Message {
    /// The snapshot begins.
    Begun {
        length: Option<u64>,
        waited: Duration,
    },
    Bytes(Vec<u8>),
    Failed(ClientError),
    End,
}

/// The bytes of a snapshot that a server is sending. Dropping it hangs up.
#[derive(Debug)]
pub struct SnapshotReader {
    messages: Receiver<Message>,
    chunk: Vec<u8>,
    read: usize,
    is_at_end: bool,
    length: Option<u64>,
    waited: Duration,
}

impl SnapshotReader {
    /// Asks for a snapshot and returns when it begins to come.
    pub fn open(address: &Address, options: &ConnectOptions) -> Result<Self, ClientError> {
        let (sender, messages) = sync_channel(CHUNKS_IN_FLIGHT);
        let (address, options) = (address.clone(), options.clone());
        let closed = ClientError::new(
            address.to_string(),
            crate::error::Problem::Closed { command: "PSYNC".to_owned(), had_answered: true },
        );
        std::thread::spawn(move || receive(&address, &options, &sender));
        match messages.recv() {
            Ok(Message::Begun { length, waited }) => {
                Ok(Self { messages, chunk: vec![], read: 0, is_at_end: false, length, waited })
            }
            Ok(Message::Failed(error)) => Err(error),
            _ => Err(closed),
        }
    }

    /// Bytes of the file, where the server tells.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// How long the server took until the first byte.
    pub fn waited(&self) -> Duration {
        self.waited
    }
}

/// Sends until the end; a receiver that is gone ends it.
fn receive(address: &Address, options: &ConnectOptions, sender: &SyncSender<Message>) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return;
    };
    let result = runtime.block_on(async {
        let mut stream = snapshot(address, options).await?;
        let begun = Message::Begun { length: stream.length(), waited: stream.waited() };
        if sender.send(begun).is_err() {
            return Ok(());
        }
        while let Some(bytes) = stream.next().await? {
            if sender.send(Message::Bytes(bytes.to_vec())).is_err() {
                return Ok(());
            }
        }
        Ok(())
    });
    let last = match result {
        Ok(()) => Message::End,
        Err(error) => Message::Failed(error),
    };
    // Nobody may be there any more to hear it.
    let _ = sender.send(last);
}

impl Read for SnapshotReader {
    /// Errors are [`ClientError`]s inside [`io::Error`]s.
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        while self.read == self.chunk.len() && !self.is_at_end {
            match self.messages.recv() {
                Ok(Message::Bytes(chunk)) => (self.chunk, self.read) = (chunk, 0),
                Ok(Message::End) => self.is_at_end = true,
                Ok(Message::Failed(error)) => return Err(io::Error::other(error)),
                Ok(Message::Begun { .. }) => {}
                Err(_) => return Err(io::Error::other("the receiving thread died")),
            }
        }
        let mut rest = self.chunk.get(self.read..).unwrap_or_default();
        let read = rest.read(room)?;
        self.read += read;
        Ok(read)
    }
}
