//! docker and podman, through their own command: the same words for both.

use super::{Account, Supervisor, run};
use crate::restart::boot::Boot;
use crate::restart::process::Process;
use std::path::Path;

/// Digits of a container's id in a control group's name.
const ID_DIGITS: usize = 64;

/// `…/docker-ID.scope`, `/docker/ID`, `…/libpod-ID.scope`.
pub(super) fn detect(process: &Process) -> Option<Supervisor> {
    let is_id =
        |text: &&str| text.len() == ID_DIGITS && text.bytes().all(|b| b.is_ascii_hexdigit());
    let id = process.cgroup.split(['/', '-', '.', '\n']).find(is_id)?;
    let engine = if process.cgroup.contains("libpod") { "podman" } else { "docker" };
    Some(Supervisor::Container { engine: engine.to_owned(), name: id.to_owned() })
}

pub(super) async fn account(engine: &str, name: &str) -> Account {
    let format = "{{.State.Running}}|{{.HostConfig.AutoRemove}}|{{.Config.StopTimeout}}|{{.Path}}|{{join .Args \"\\u0000\"}}";
    match run(engine, &["inspect", "--type", "container", "--format", format, name]).await {
        Ok(output) => read(&String::from_utf8_lossy(&output.stdout)),
        Err(error) => Account { trouble: Some(error.to_string()), ..Account::default() },
    }
}

/// What `inspect` says. Pure.
fn read(text: &str) -> Account {
    let mut parts = text.trim_end().splitn(5, '|');
    let mut part = || parts.next().unwrap_or_default();
    let (running, auto_remove, stop, program, args) = (part(), part(), part(), part(), part());
    let trouble = if auto_remove == "true" {
        Some(
            "the container was started with --rm: its end deletes it and what is not on a volume"
                .to_owned(),
        )
    } else {
        (running != "true").then(|| "the container is not running".to_owned())
    };
    let mut words = vec![program.to_owned()];
    words.extend(args.split('\0').filter(|a| !a.is_empty()).map(str::to_owned));
    // Its files are not where we see them: good for reading arguments, not for a rehearsal.
    let boot = Boot::from_words(&words, "redis-server", Path::new("/data"));
    Account {
        boot: boot.map(|b| Boot { is_certain: false, ..b }),
        stop_timeout_s: stop.parse().ok(),
        ready_timeout_s: None,
        trouble,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_inspect_says() {
        let account = read("true|false|30|docker-entrypoint.sh|redis-server\u{0}--save\u{0}60 1\n");
        assert_eq!((account.stop_timeout_s, account.trouble), (Some(30), None));
        assert_eq!(account.boot.unwrap().lines, ["save \"60 1\""]);
        assert!(read("true|true||redis-server|").trouble.unwrap().contains("--rm"));
    }
}
