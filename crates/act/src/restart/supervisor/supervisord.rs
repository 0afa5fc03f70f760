//! supervisord, through supervisorctl.

use super::{Account, Supervisor, run};
use crate::ActError;
use crate::restart::process::Process;

/// The program of a supervisord that does not answer us: with a configuration of its own, or a socket that is not for us.
const UNKNOWN: &str = "a program that supervisorctl does not show here";

/// Its programs are children of a process called supervisord; the one with our process's number is the server's.
pub(super) async fn detect(process: &Process) -> Option<Supervisor> {
    let comm = std::fs::read_to_string(format!("/proc/{}/comm", process.parent)).ok()?;
    if comm.trim() != "supervisord" {
        return None;
    }
    let output = run("supervisorctl", &["status"]).await;
    let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    let program = program_of(&text, process.id.pid).unwrap_or_else(|| UNKNOWN.to_owned());
    Some(Supervisor::Supervisord { program })
}

/// `cache:redis   RUNNING   pid 77, uptime 0:01:02`.
fn program_of(status: &str, pid: u32) -> Option<String> {
    let wanted = format!("pid {pid},");
    let line = status.lines().find(|l| l.contains(&wanted))?;
    line.split_whitespace().next().map(str::to_owned)
}

pub(super) async fn account(program: &str) -> Account {
    if program == UNKNOWN {
        let trouble = "its parent is supervisord, and `supervisorctl status` does not show it here: run unfrag where it does, or stop it there and name the start with --start-command";
        return Account { trouble: Some(trouble.to_owned()), ..Account::default() };
    }
    let trouble = match run("supervisorctl", &["status", program]).await {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            (!text.contains("RUNNING")).then(|| format!("supervisord says: {}", text.trim()))
        }
        Err(error) => Some(error.to_string()),
    };
    // Its control interface tells neither the command nor the stop timeout.
    Account { trouble, ..Account::default() }
}

/// With autorestart it may be up before we ask.
pub(super) async fn start(program: &str) -> Result<(), ActError> {
    match run("supervisorctl", &["start", program]).await {
        Err(error) if !error.to_string().contains("already started") => {
            let status = run("supervisorctl", &["status", program]).await?;
            let text = String::from_utf8_lossy(&status.stdout).into_owned();
            if text.contains("RUNNING") || text.contains("STARTING") { Ok(()) } else { Err(error) }
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_found_by_its_process() {
        let status = "a RUNNING pid 7, uptime 0:00:01\ncache:b RUNNING pid 77, uptime 1 day\n";
        assert_eq!(program_of(status, 77).as_deref(), Some("cache:b"));
        assert_eq!(program_of(status, 8), None);
    }

    /// The parent is a script of that name: whether it can be asked is not what this is about.
    #[tokio::test]
    async fn a_supervisor_that_cannot_be_asked_is_one_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("supervisord");
        std::fs::write(&script, "#!/bin/sh\nsleep 30 &\necho $!\nwait\n").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&script, mode).unwrap();
        let mut parent = std::process::Command::new(&script)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let output = parent.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).unwrap();
        let child = Process::read(line.trim().parse().unwrap()).unwrap();
        let found = detect(&child).await;
        child.id.kill();
        parent.wait().unwrap();
        assert_eq!(found, Some(Supervisor::Supervisord { program: UNKNOWN.to_owned() }));
        assert!(account(UNKNOWN).await.trouble.is_some());
    }
}
