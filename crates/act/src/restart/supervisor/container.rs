//! docker and podman, through their own command: the same words for both.

use super::{ANSWERS, Account, Supervisor, run, why};
use crate::ActError;
use crate::restart::boot::Boot;
use crate::restart::process::Process;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;
use std::process::Stdio;

/// Digits of a container's id in a control group's name.
const ID_DIGITS: usize = 64;

/// `…/docker-ID.scope`, `/docker/ID`, `…/libpod-ID.scope`. A pod's containers are Kubernetes' to start.
pub(super) fn detect(process: &Process) -> Option<Supervisor> {
    if process.cgroup.contains("kubepods") {
        return None;
    }
    let is_id =
        |text: &&str| text.len() == ID_DIGITS && text.bytes().all(|b| b.is_ascii_hexdigit());
    let id = process.cgroup.split(['/', '-', '.', '\n']).find(is_id)?;
    let engine = if process.cgroup.contains("libpod") { "podman" } else { "docker" };
    Some(Supervisor::Container { engine: engine.to_owned(), name: id.to_owned() })
}

/// One that runs is content. Whatever becomes of us, the engine goes on: cut short, podman leaves a container that it cannot
/// start any more ("container with given ID already exists"). So it is no child of our terminal's, and what it prints goes to
/// no pipe: a program in Go that finds its reader gone dies, whatever signals it was told to ignore.
pub(super) async fn start(engine: &str, name: &str) -> Result<(), ActError> {
    let shown = format!("{engine} start {name}");
    let fail = |why: String| ActError::Unsafe(format!("`{shown}` failed: {why}"));
    let broken = |e: std::io::Error| fail(e.to_string());
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let memory = rustix::fs::memfd_create("printed", flags).map_err(|e| broken(e.into()))?;
    let mut printed = File::from(memory);
    let mut command = tokio::process::Command::new(engine);
    command.args(["start", name]).process_group(0).stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(printed.try_clone().map_err(broken)?);
    let mut child = command.spawn().map_err(broken)?;
    let ended = tokio::time::timeout(ANSWERS, child.wait()).await;
    let status = ended
        .map_err(|_| fail(format!("no answer in {} s", ANSWERS.as_secs())))?
        .map_err(broken)?;
    if status.success() {
        return Ok(());
    }
    let mut said = vec![];
    printed.rewind().and_then(|()| printed.read_to_end(&mut said)).map_err(broken)?;
    Err(fail(why(&said, status)))
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
        trouble,
        ..Account::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It prints when its reader would be gone, and is one of those that die of that: it has to end, and to be told.
    #[tokio::test]
    async fn an_engine_is_started_without_a_pipe() {
        let folder = tempfile::tempdir().unwrap();
        let engine = folder.path().join("engine");
        let at = folder.path().display();
        let script = format!(
            "#!/bin/sh\nreadlink /proc/$$/fd/1 /proc/$$/fd/2 > {at}/open\necho no >&2\nexit 3\n"
        );
        std::fs::write(&engine, script).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&engine, mode).unwrap();
        // A test beside this one may have been forked while the script was open for writing.
        let error = loop {
            match start(engine.to_str().unwrap(), "cache").await.unwrap_err().to_string() {
                busy if busy.contains("busy") => tokio::task::yield_now().await,
                error => break error,
            }
        };
        assert!(error.ends_with("failed: no"), "{error}");
        let open = std::fs::read_to_string(folder.path().join("open")).unwrap();
        assert!(!open.contains("pipe:") && open.lines().count() == 2, "{open}");
    }

    #[test]
    fn what_inspect_says() {
        let account = read("true|false|30|docker-entrypoint.sh|redis-server\u{0}--save\u{0}60 1\n");
        assert_eq!((account.stop_timeout_s, account.trouble), (Some(30), None));
        assert_eq!(account.boot.unwrap().lines, ["save \"60 1\""]);
        assert!(read("true|true||redis-server|").trouble.unwrap().contains("--rm"));
    }
}
