//! supervisord, through supervisorctl.

use super::{Account, Supervisor, run};
use crate::ActError;
use crate::restart::process::Process;

/// Its programs are children of a process called supervisord; the one with our process's number is the server's.
pub(super) async fn detect(process: &Process) -> Option<Supervisor> {
    let comm = std::fs::read_to_string(format!("/proc/{}/comm", process.parent)).ok()?;
    if comm.trim() != "supervisord" {
        return None;
    }
    let output = run("supervisorctl", &["status"]).await.ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Some(Supervisor::Supervisord { program: program_of(&text, process.id.pid)? })
}

/// `cache:redis   RUNNING   pid 77, uptime 0:01:02`.
fn program_of(status: &str, pid: u32) -> Option<String> {
    let wanted = format!("pid {pid},");
    let line = status.lines().find(|l| l.contains(&wanted))?;
    line.split_whitespace().next().map(str::to_owned)
}

pub(super) async fn account(program: &str) -> Account {
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
}
