//! supervisord, through supervisorctl: the one beside it, with the configuration that it was started with.

mod settings;

use super::{Account, Supervisor, run};
use crate::ActError;
use crate::restart::boot::Boot;
use crate::restart::process::Process;
use std::path::{Path, PathBuf};

/// The program of a supervisord that does not answer us: its socket is not for us, or its configuration is not seen.
const UNKNOWN: &str = "a program that supervisorctl does not show here";

/// Its programs are children of a process called supervisord; the one with our process's number is the server's.
pub(super) async fn detect(process: &Process) -> Option<Supervisor> {
    let comm = std::fs::read_to_string(format!("/proc/{}/comm", process.parent)).ok()?;
    if comm.trim() != "supervisord" {
        return None;
    }
    let control = control_of(process.parent);
    let output = ask(&control, &["status"]).await;
    let text = output.unwrap_or_default();
    let program = program_of(&text, process.id.pid).unwrap_or_else(|| UNKNOWN.to_owned());
    Some(Supervisor::Supervisord { program, control })
}

/// The words that speak with this supervisord; none when the usual `supervisorctl` does.
fn control_of(pid: u32) -> Vec<String> {
    let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<String> = line.split('\0').map(str::to_owned).collect();
    let cwd = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_else(|_| "/".into());
    let own = words.iter().take(2).map(PathBuf::from).find(|w| w.ends_with("supervisord"));
    let beside = own.map(|path| cwd.join(path).with_file_name("supervisorctl"));
    let beside = beside.filter(|path| path.is_file()).map(|path| path.display().to_string());
    let file = settings::named(&words, &cwd).filter(|path| path.is_file());
    if beside.is_none() && file.is_none() {
        return vec![];
    }
    let mut control = vec![beside.unwrap_or_else(|| "supervisorctl".to_owned())];
    if let Some(file) = file {
        control.extend(["-c".to_owned(), file.display().to_string()]);
    }
    control
}

/// As it is typed.
pub(super) fn typed(control: &[String]) -> String {
    if control.is_empty() { "supervisorctl".to_owned() } else { control.join(" ") }
}

async fn ask(control: &[String], words: &[&str]) -> Result<String, ActError> {
    let (program, first) = match control.split_first() {
        Some((program, first)) => (program.as_str(), first),
        None => ("supervisorctl", &[][..]),
    };
    let args: Vec<&str> = first.iter().map(String::as_str).chain(words.iter().copied()).collect();
    let output = run(program, &args).await?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `cache:redis   RUNNING   pid 77, uptime 0:01:02`.
fn program_of(status: &str, pid: u32) -> Option<String> {
    let wanted = format!("pid {pid},");
    let line = status.lines().find(|l| l.contains(&wanted))?;
    line.split_whitespace().next().map(str::to_owned)
}

pub(super) async fn account(
    program: &str,
    control: &[String],
    process: Option<&Process>,
) -> Account {
    if program == UNKNOWN {
        let trouble = "its parent is supervisord, and `supervisorctl status` does not show it here: run unfrag where it does, or stop it there and name the start with --start-command";
        return Account { trouble: Some(trouble.to_owned()), ..Account::default() };
    }
    let trouble = match ask(control, &["status", program]).await {
        Ok(text) => {
            (!text.contains("RUNNING")).then(|| format!("supervisord says: {}", text.trim()))
        }
        Err(error) => Some(error.to_string()),
    };
    let file = control.get(2).map(PathBuf::from).or_else(settings::usual);
    let said = file.and_then(|file| settings::program(&file, program));
    let known = process.map(Process::binary_name).unwrap_or_default();
    let boot = said.as_ref().and_then(|p| Boot::from_shell(&p.command, &known, Path::new("/")));
    // A relative name is meant from wherever its `directory` is.
    let boot =
        boot.filter(|b| b.program.is_absolute() || !b.program.to_string_lossy().contains('/'));
    let boot = boot.filter(|b| b.file.as_ref().is_none_or(|file| file.is_file()));
    Account { boot, trouble, stop_timeout_s: said.map(|p| p.stop_wait_s), ..Account::default() }
}

/// The number of the program's process; `None` while it has none.
pub(super) async fn main_pid(program: &str, control: &[String]) -> Option<u32> {
    let text = ask(control, &["pid", program]).await.ok()?;
    text.trim().parse().ok().filter(|&pid| pid > 0)
}

/// With autorestart it may be up before we ask.
pub(super) async fn start(program: &str, control: &[String]) -> Result<(), ActError> {
    match ask(control, &["start", program]).await {
        Err(error) if !error.to_string().contains("already started") => {
            let text = ask(control, &["status", program]).await?;
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
        assert_eq!(
            found,
            Some(Supervisor::Supervisord { program: UNKNOWN.to_owned(), control: vec![] })
        );
        assert!(account(UNKNOWN, &[], None).await.trouble.is_some());
    }
}
