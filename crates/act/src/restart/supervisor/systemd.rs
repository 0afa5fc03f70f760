//! systemd, through systemctl: present wherever systemd is, and it asks for rights as the user expects.
//!
//! A unit of `Type=notify` (Debian's) is started only once the server says that it is ready, and a server says so when it
//! has loaded everything (server.c: main). So nobody waits for `systemctl start` here: it answers when it answers; and a
//! start that systemd would break off before the data is loaded is objected to beforehand.

use super::started::{Printed, Started};
use super::{Account, Supervisor, run};
use crate::ActError;
use crate::restart::boot::Boot;
use crate::restart::process::Process;
use std::collections::BTreeMap;
use std::process::{Command, Stdio};

/// `0::/system.slice/redis-server.service`; a session's scope or a user's own manager is no unit of the server's.
pub(super) fn detect(process: &Process) -> Option<Supervisor> {
    let groups = process.cgroup.lines().filter_map(|line| line.rsplit_once(':'));
    let mut groups = groups;
    let unit = groups.find_map(|(_, path)| path.rsplit('/').find(|p| p.ends_with(".service")))?;
    let is_session = unit.starts_with("user@") || unit.starts_with("session");
    let is_other = ["docker", "containerd", "ssh", "sshd", "cron", "supervisor"]
        .iter()
        .any(|other| unit.strip_suffix(".service") == Some(other));
    (!is_session && !is_other).then(|| Supervisor::Systemd { unit: unit.to_owned() })
}

pub(super) async fn account(unit: &str, process: Option<&Process>) -> Account {
    let properties = "--property=LoadState,MainPID,ExecStart,TimeoutStopUSec,TimeoutStartUSec,Type";
    let output = match run("systemctl", &["show", unit, properties]).await {
        Ok(output) => output,
        Err(error) => return Account { trouble: Some(error.to_string()), ..Account::default() },
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    read(&text, unit, process)
}

/// What `systemctl show` says. Pure.
fn read(text: &str, unit: &str, process: Option<&Process>) -> Account {
    let said: BTreeMap<&str, &str> = text.lines().filter_map(|l| l.split_once('=')).collect();
    let get = |name: &str| said.get(name).copied().unwrap_or_default();
    let trouble = match (get("LoadState"), get("MainPID"), process) {
        ("loaded", pid, Some(process)) if pid != process.id.pid.to_string() => {
            Some(format!("{unit} runs process {pid}, and the server is process {}", process.id.pid))
        }
        ("loaded", ..) => None,
        (state, ..) => Some(format!("systemd has no unit {unit} to start ({state})")),
    };
    let argv = get("ExecStart").split_once("argv[]=").map(|(_, rest)| rest);
    let argv = argv.and_then(|rest| rest.split(" ; ").next()).unwrap_or_default();
    let known = process.map(Process::binary_name).unwrap_or_default();
    Account {
        boot: Boot::from_shell(argv, &known, std::path::Path::new("/")),
        stop_timeout_s: seconds(get("TimeoutStopUSec")),
        ready_timeout_s: seconds(get("TimeoutStartUSec"))
            .filter(|_| get("Type").starts_with("notify")),
        trouble,
    }
}

/// `1min 30s`; `infinity` is no limit.
fn seconds(text: &str) -> Option<u64> {
    let mut all = 0;
    for word in text.split_whitespace() {
        let at = word.find(|c: char| c.is_ascii_alphabetic())?;
        let (number, unit) = word.split_at_checked(at)?;
        let number: u64 = number.parse().ok()?;
        all += match unit {
            "s" => number,
            "min" => number * 60,
            "h" => number * 3600,
            "ms" | "us" => 0,
            _ => return None,
        };
    }
    (!text.is_empty()).then_some(all)
}

/// Asks for the start; whoever called looks for the server, and at how systemctl ended.
pub(super) fn start(unit: &str) -> Result<Started, ActError> {
    let fail =
        |e: std::io::Error| ActError::Unsafe(format!("`systemctl start {unit}` failed: {e}"));
    let (printed, [out, err]) = Printed::to(None).map_err(fail)?;
    let mut command = Command::new("systemctl");
    command.args(["start", unit]).stdin(Stdio::null()).stdout(out).stderr(err);
    Ok(Started::new(command.spawn().map_err(fail)?, printed))
}

/// The number of the unit's process; `None` while it has none.
pub(super) async fn main_pid(unit: &str) -> Option<u32> {
    let output = run("systemctl", &["show", unit, "--property=MainPID"]).await.ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.trim().strip_prefix("MainPID=")?.parse().ok().filter(|&pid| pid > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: &str = "LoadState=loaded\nMainPID=77\nTimeoutStopUSec=1min 30s\nExecStart={ path=/usr/bin/redis-server ; argv[]=/usr/bin/redis-server /etc/redis/redis.conf --supervised systemd --daemonize no ; ignore_errors=no ; start_time=[n/a] }\n";

    #[test]
    fn what_systemctl_shows() {
        let account = read(SHOWN, "redis-server.service", None);
        assert_eq!((account.stop_timeout_s, account.trouble), (Some(90), None));
        assert_eq!(account.ready_timeout_s, None, "a unit that does not notify is up at once");
        let notifies = format!("{SHOWN}Type=notify\nTimeoutStartUSec=2min\n");
        assert_eq!(read(&notifies, "redis-server.service", None).ready_timeout_s, Some(120));
        let patient = format!("{SHOWN}Type=notify\nTimeoutStartUSec=infinity\n");
        assert_eq!(read(&patient, "redis-server.service", None).ready_timeout_s, None);
        let boot = account.boot.unwrap();
        assert_eq!(boot.file.as_deref(), Some(std::path::Path::new("/etc/redis/redis.conf")));
        assert_eq!(boot.lines, ["supervised \"systemd\"", "daemonize \"no\""]);
        let gone = read("LoadState=not-found\n", "x.service", None).trouble.unwrap();
        assert!(gone.contains("no unit x.service"), "{gone}");
        assert_eq!(seconds("infinity"), None);
    }
}
