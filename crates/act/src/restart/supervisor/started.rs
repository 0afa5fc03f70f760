//! [`Started`]: a start that was asked for, watched until the server is up: whether it ended, and what it printed.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use tokio::net::unix::pipe::Receiver;

/// Bytes kept of what a start printed: its last words are the ones that tell.
const KEPT: usize = 4096;
/// Lines of it that are shown.
const SHOWN: usize = 3;

/// A child of ours that starts the server or is the server, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Started {
    child: Option<Child>,
    printed: Printed,
}

/// Where its words go. Read only until the server is up: a server is never made to wait for us to read.
#[derive(Debug, Default)]
pub(super) enum Printed {
    /// Nowhere.
    #[default]
    Nowhere,
    /// Behind what was in the server's own output before.
    File(PathBuf, u64),
    /// To us.
    Here(Receiver, Vec<u8>),
}

impl Printed {
    /// Both outputs of a child go to the file, or to us where there is none.
    pub(super) fn to(output: Option<&Path>) -> std::io::Result<(Self, [Stdio; 2])> {
        if let Some(path) = output {
            let file = File::options().create(true).append(true).open(path)?;
            let length = file.metadata()?.len();
            let both = [file.try_clone()?.into(), file.into()];
            return Ok((Self::File(path.to_owned(), length), both));
        }
        let (reader, writer) = std::io::pipe()?;
        let reader = Receiver::from_owned_fd(reader.into())?;
        Ok((Self::Here(reader, vec![]), [writer.try_clone()?.into(), writer.into()]))
    }

    /// Takes what is there.
    fn drain(&mut self) {
        let Self::Here(reader, kept) = self else { return };
        let mut bytes = [0; KEPT];
        while let Ok(read) = reader.try_read(&mut bytes)
            && read > 0
        {
            kept.extend(bytes.iter().take(read));
            let over = kept.len().saturating_sub(KEPT);
            kept.drain(..over);
        }
    }

    /// Its last lines in one.
    fn last_words(&mut self) -> String {
        self.drain();
        let bytes = match self {
            Self::Nowhere => vec![],
            Self::Here(_, kept) => std::mem::take(kept),
            Self::File(path, from) => tail(path, *from).unwrap_or_default(),
        };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
        lines
            .iter()
            .skip(lines.len().saturating_sub(SHOWN))
            .copied()
            .collect::<Vec<_>>()
            .join(" / ")
    }
}

/// The end of a file, from there on.
fn tail(path: &Path, from: u64) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(from.max(length.saturating_sub(KEPT as u64))))?;
    let mut bytes = vec![];
    file.take(KEPT as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Started {
    pub(super) fn new(child: Child, printed: Printed) -> Self {
        Self { child: Some(child), printed }
    }

    /// What became of it, once it has ended with a failure: nothing more is to be waited for.
    pub(crate) fn failed(&mut self) -> Option<String> {
        self.printed.drain();
        let status = self.child.as_mut()?.try_wait().ok().flatten()?;
        if status.success() {
            return None;
        }
        let words = self.printed.last_words();
        let said = if words.is_empty() {
            "; it printed nothing".to_owned()
        } else {
            format!("; it printed: {words}")
        };
        Some(format!("it ended with {}{said}", shown(status)))
    }
}

fn shown(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(127), _) => "exit status 127 (no such command)".to_owned(),
        (Some(126), _) => "exit status 126 (not executable)".to_owned(),
        (Some(code), _) => format!("exit status {code}"),
        (None, signal) => format!("signal {}", signal.unwrap_or(0)),
    }
}
