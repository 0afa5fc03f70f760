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
use std::path::Path;
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
    let properties = "--property=LoadState,MainPID,ExecStart,ExecStop,ExecStopPost,TimeoutStopUSec,TimeoutStartUSec,Type,NotifyAccess,Environment,\
                      EnvironmentFiles";
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
    let argv = argv_of(get("ExecStart")).unwrap_or_default();
    let stops = text.lines().filter(|line| line.starts_with("ExecStop"));
    // `kill $MAINPID` finds nobody: that process is gone by then.
    let stop_command = stops.filter_map(argv_of).find(|argv| !argv.contains("MAINPID"));
    let known = process.map(Process::binary_name).unwrap_or_default();
    let words = expanded(argv, &environment(text));
    Account {
        boot: Boot::from_words(&words, &known, Path::new("/")),
        stop_timeout_s: seconds(get("TimeoutStopUSec")),
        hears_stop: get("Type").starts_with("notify")
            || !matches!(get("NotifyAccess"), "" | "none"),
        stop_command: stop_command.map(str::to_owned),
        ready_timeout_s: seconds(get("TimeoutStartUSec"))
            .filter(|_| get("Type").starts_with("notify")),
        trouble,
    }
}

/// The words of `{ path=… ; argv[]=… ; … }`.
fn argv_of(shown: &str) -> Option<&str> {
    shown.split_once("argv[]=")?.1.split(" ; ").next()
}

/// The unit's own variables: those of its files count more (systemd.exec(5)).
fn environment(text: &str) -> BTreeMap<String, String> {
    let values = |name: &str| {
        let lines = text.lines().filter_map(move |line| line.strip_prefix(name)?.strip_prefix('='));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let own = values("Environment").iter().filter_map(|v| shlex::split(v)).flatten().collect();
    let files = values("EnvironmentFiles").into_iter().flat_map(|value| {
        let path = value.rsplit_once(" (ignore_errors=").map_or(value.as_str(), |(path, _)| path);
        of_file(&std::fs::read_to_string(path).unwrap_or_default())
    });
    let all = [own, files.collect::<Vec<String>>()].concat();
    let pairs = all.iter().filter_map(|word| word.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// `NAME="a b"` a line, as words without their quotes.
fn of_file(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim).filter(|l| !l.starts_with(['#', ';']));
    lines.filter_map(|line| Some(shlex::split(line)?.join(" "))).collect()
}

/// The words of a command line, which `show` joins with one blank each; an empty word is one, too. A `$NAME` on its own
/// becomes as many words as it has, `${NAME}` none of its own, `$$` a `$`; what is not set is nothing.
fn expanded(argv: &str, environment: &BTreeMap<String, String>) -> Vec<String> {
    let of = |name: &str| environment.get(name).map_or("", String::as_str);
    let mut words = vec![];
    for word in argv.split(' ') {
        match word.strip_prefix('$').filter(|name| is_name(name)) {
            Some(name) => words.extend(shlex::split(of(name)).unwrap_or_default()),
            None => words.push(filled(word, of)),
        }
    }
    words
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn filled<'a>(word: &str, of: impl Fn(&str) -> &'a str) -> String {
    let mut parts = word.split('$');
    let mut whole = parts.next().unwrap_or_default().to_owned();
    while let Some(part) = parts.next() {
        let variable = part.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        match variable {
            Some((name, rest)) => whole.extend([of(name), rest]),
            // A doubled one stands for itself.
            None if part.is_empty() => whole.extend(["$", parts.next().unwrap_or_default()]),
            None => whole.extend(["$", part]),
        }
    }
    whole
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
        assert!(read(&notifies, "redis-server.service", None).hears_stop && !account.hears_stop);
        assert!(read(&format!("{SHOWN}NotifyAccess=all\n"), "", None).hears_stop);
        assert!(!read(&format!("{SHOWN}NotifyAccess=none\n"), "", None).hears_stop);
        assert_eq!(account.stop_command, None);
        let stops = |argv: &str| {
            let line =
                format!("ExecStop={{ path=/x ; argv[]={argv} ; ignore_errors=no ; pid=0 }}\n");
            read(&format!("{SHOWN}{line}"), "", None).stop_command
        };
        assert_eq!(stops("/bin/kill -s TERM $MAINPID"), None);
        let asks = "/usr/bin/redis-cli -p 6379 shutdown";
        assert_eq!(stops(asks).as_deref(), Some(asks));
        assert_eq!(read(&notifies, "redis-server.service", None).ready_timeout_s, Some(120));
        let patient = format!("{SHOWN}Type=notify\nTimeoutStartUSec=infinity\n");
        assert_eq!(read(&patient, "redis-server.service", None).ready_timeout_s, None);
        let boot = account.boot.unwrap();
        assert_eq!(boot.file.as_deref(), Some(Path::new("/etc/redis/redis.conf")));
        assert_eq!(boot.lines, ["supervised \"systemd\"", "daemonize \"no\""]);
        let gone = read("LoadState=not-found\n", "x.service", None).trouble.unwrap();
        assert!(gone.contains("no unit x.service"), "{gone}");
        assert_eq!(seconds("infinity"), None);
    }

    /// As Fedora's valkey has it: what is in no file of the server's comes from a file of the unit's.
    #[test]
    fn variables_of_the_unit_are_filled_in() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("valkey");
        std::fs::write(&file, "# more\nOPTIONS=\"--maxclients 500 --save ''\"\nPORT=7\n").unwrap();
        let text = format!(
            "LoadState=loaded\nExecStart={{ path=/usr/bin/valkey-server ; argv[]=/usr/bin/valkey-server /etc/v.conf --loglevel  \
             --port ${{PORT}}1 $OPTIONS $NONE --logfile a$$b ; ignore_errors=no ; pid=0 }}\nEnvironment=PORT=6 \"X=y z\"\n\
             EnvironmentFiles=/nonexistent (ignore_errors=yes)\nEnvironmentFiles={} (ignore_errors=no)\n",
            file.display()
        );
        let boot = read(&text, "valkey.service", None).boot.unwrap();
        assert_eq!(boot.file.as_deref(), Some(Path::new("/etc/v.conf")));
        assert_eq!(
            boot.lines,
            ["loglevel \"\"", "port \"71\"", "maxclients \"500\"", "save \"\"", "logfile \"a$b\""]
        );
    }
}
