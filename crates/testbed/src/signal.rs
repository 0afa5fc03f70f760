//! Signals to a process of the test's own, by its number.

use crate::Error;
use std::process::Command;

/// Sends `name` (`-STOP`, `-INT`, as kill(1) takes it) to a process.
pub fn signal(pid: u32, name: &str) -> Result<(), Error> {
    let failed = |source| Error::Start { program: "kill".into(), source };
    let status = Command::new("kill").args([name, &pid.to_string()]).status().map_err(failed)?;
    if status.success() {
        return Ok(());
    }
    Err(failed(std::io::Error::other(format!("{name} to {pid}: {status}"))))
}
