//! `unfrag top` in a real terminal.

use crate::page::hostile_server;
use crate::running::{has, until};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use unfrag_testbed::workload::Workload;
use unfrag_testbed::{Kind, Lab, Options, Server, require};

/// A terminal of 80 columns and 24 lines, on a tmux server of its own; ended with the test.
struct Terminal(String);

impl Terminal {
    fn run(command: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let terminal = Self(format!("unfrag-{}-{number}", std::process::id()));
        terminal.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", command]);
        terminal
    }

    fn tmux(&self, words: &[&str]) -> String {
        let output = Command::new("tmux").args(["-L", &self.0]).args(words).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What is on the screen once `wanted` is.
    fn shows(&self, wanted: &str) -> String {
        self.is(wanted, |screen| screen.contains(wanted))
    }

    /// What is on the screen once it is as `wanted` says; `what` names that.
    fn is(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let mut screen = String::new();
        until(what, || {
            screen = self.tmux(&["capture-pane", "-p"]);
            wanted(&screen)
        });
        screen
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

#[test]
fn top_is_usable_on_80_by_24() {
    if !require(Kind::Redis7) || !has("tmux") {
        return;
    }
    let lab = Lab::start(Kind::Redis7, &Options::default(), Workload::Strings, 64 << 20).unwrap();
    let quiet = Server::start(Kind::Redis7, &Options::default()).unwrap();
    let target = |server: &Server| format!("127.0.0.1:{}", server.port());
    let (worst, other) = (target(&lab.server), target(&quiet));
    // Colour is off, so that the parts of the bar are told by their letters.
    let program = env!("CARGO_BIN_EXE_unfrag");
    let terminal = Terminal::run(&format!("{program} top --color never {other} {worst}"));
    // The second server may still be read when the first is on the screen.
    let order = |screen: &str| {
        let line = |wanted: &str| screen.lines().position(|l| l.contains(wanted));
        Some(line(&worst)? < line(&other)?)
    };
    // Until both are read they stand in the order of their names, which may be the same.
    let list = terminal
        .is("the worst first", |screen| !screen.contains("reading") && order(screen) == Some(true));
    assert!(list.lines().all(|l| l.chars().count() <= 80), "{list}");
    assert!(list.contains("uuuu") && list.contains("ffff"), "{list}");
    let title = |server: &str| format!(" {server} · Redis");
    terminal.tmux(&["send-keys", "j"]);
    terminal.shows(&title(&other));
    // Only what is looked for, until that is cleared.
    terminal.tmux(&["send-keys", "-l", "/"]);
    terminal.tmux(&["send-keys", "-l", &other]);
    terminal.shows(&format!("/{other}_"));
    let found = terminal.shows("1 of 2 servers");
    assert!(found.contains(&title(&other)) && !found.contains(&worst), "{found}");
    terminal.tmux(&["send-keys", "Enter"]);
    terminal.shows("/ find");
    terminal.tmux(&["send-keys", "Escape"]);
    terminal.shows("unfrag 2 servers");
    // Another order begins with its first.
    terminal.tmux(&["send-keys", "s"]);
    assert!(terminal.shows("most waste").contains(&title(&worst)));
    terminal.tmux(&["send-keys", "Enter"]);
    let zoomed = terminal.shows("Enter back");
    assert!(zoomed.contains("mem_fragmentation_ratio") || zoomed.contains("allocator"), "{zoomed}");
    terminal.tmux(&["send-keys", "?"]);
    let help = terminal.shows("next order");
    assert!(help.contains("Esc shows all again"), "{help}");
    terminal.tmux(&["send-keys", "x"]);
    terminal.tmux(&["send-keys", "q"]);
    until("its end", || !terminal.tmux(&["list-sessions"]).contains("windows"));
}

#[test]
fn top_disarms_what_a_server_says() {
    if !has("tmux") {
        return;
    }
    let hostile = hostile_server();
    let program = env!("CARGO_BIN_EXE_unfrag");
    let terminal = Terminal::run(&format!("{program} top --color never {hostile}"));
    let screen = terminal.shows("edoc");
    assert!(screen.contains(r"\u{202e}edoc\u{2066}\u{200b}"), "{screen}");
    assert!(!screen.contains(['\u{202e}', '\u{2066}', '\u{200b}']), "{screen}");
}
