#!/usr/bin/env python3
"""`unfrag restart` and `unfrag watch` under a real systemd, which has namespaces of its own (systemd_box.py).

Usage: test_systemd.py UNFRAG SERVERS [WORDS]     only the trials whose names have all WORDS
       (it calls itself with --inside, in the box)

Each row: a unit of a real server, filled, two thirds of its keys deleted, twenty clients that send acknowledged increments.
It fails on a lost write, on a server that is not the unit's own afterwards, on a file that is not what it was. The gap is
printed and not judged. Exit code 0 with a reason where the machine cannot have a systemd of its own.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from urllib.request import urlopen

sys.path.insert(0, str(Path(__file__).resolve().parent))
import real_trials as trials  # noqa: E402
from bench_restart import Client  # noqa: E402
from real_trials import KEYS, PORT, answers, in_a_line, must, told, wait  # noqa: E402
from systemd_box import UNITS  # noqa: E402

# Where the server's own build says when it is ready (libsystemd), as Debian's unit has it.
NOTIFY = "Type=notify\nTimeoutStartSec=infinity\n"
HARD = ("PrivateTmp=yes\nPrivateDevices=yes\nProtectHome=yes\nProtectSystem=strict\nNoNewPrivileges=yes\n"
        "ReadWritePaths=/etc/cache /var/lib/cache\n")
STOPS = f"ExecStop=/usr/local/bin/cli -p {PORT} SHUTDOWN SAVE\n"
SHAPES = {
    "notify, always": ("redis-7.0.15", NOTIFY + HARD + "Restart=always\nTimeoutStopSec=2s\n", "save 3600 1\n"),
    "simple, always": ("redis-8.2.3", "Restart=always\nRestartSec=0\nTimeoutStopSec=infinity\n", "save 3600 1\n"),
    "on-failure, AOF": ("valkey-8.1.8", HARD + "Restart=on-failure\nTimeoutStopSec=2s\n", "appendonly yes\nsave \"\"\n"),
    "ExecStop": ("valkey-9.1.2", STOPS + "Restart=always\nTimeoutStopSec=10min\n", "save 3600 1\n"),
    "no restart": ("redis-7.0.15", NOTIFY + "Restart=no\n", "appendonly yes\nsave 3600 1\n"),
}
# A step as which begins unfrag is killed; the second time is on the way back.
KILLED = [("plain", "stop", 1), ("plain", "start", 1), ("plain", "load", 1), ("swap", "ports", 1), ("swap", "stop", 1),
          ("swap", "start", 1), ("swap", "sync", 2), ("swap", "ports", 2), ("swap", "retire", 1)]
WORDS = {"plain": ["--mode", "plain"], "swap": ["--mode", "swap", "--supervised"]}
START = "systemctl start cache.service"


def shown(unit, name):
    return told("systemctl", "show", unit, f"--property={name}", "--value").stdout.strip()


class Unit:
    """`cache.service`: a server with a configuration file, run by a user of its own."""

    CONF = Path("/etc/cache/cache.conf")

    def __init__(self, servers, shape):
        server, service, lines = SHAPES[shape]
        self.stops = "ExecStop" in service
        program = servers / server / ("valkey-server" if server.startswith("valkey") else "redis-server")
        # Where its user may go: the checkout may be in a folder that is closed to others.
        self.program = Path("/usr/local/bin") / f"{server}-server"
        shutil.copy(program, self.program)
        shutil.copy(servers / "redis-7.0.15" / "redis-cli", "/usr/local/bin/cli")
        subprocess.run(["useradd", "--system", "cache"], capture_output=True, check=False)
        for folder in (self.CONF.parent, Path("/var/lib/cache")):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        notify = "supervised systemd\n" if "notify" in service else ""
        self.CONF.write_text(
            f"port {PORT}\nbind 127.0.0.1\ndir /var/lib/cache\nenable-debug-command local\n{notify}{lines}")
        # More arguments from a file, as the packages of Fedora and its kin have it.
        Path("/etc/cache/options").write_text("# More arguments\nOPTIONS=\"--maxclients 5000\"\n")
        told("chown", "-R", "cache:", self.CONF.parent, "/var/lib/cache")
        Path(UNITS, "cache.service").write_text(
            "[Unit]\nStartLimitIntervalSec=0\n[Service]\nUser=cache\nEnvironmentFile=-/etc/cache/options\n"
            f"ExecStart={self.program} {self.CONF} --daemonize no $OPTIONS\n{service}")
        told("systemctl", "daemon-reload")
        told("systemctl", "start", "cache")
        wait("the server", answers)
        trials.fill()
        self.before = self.file()

    def file(self):
        meta = self.CONF.stat()
        return self.CONF.read_bytes(), meta.st_ino, meta.st_mode, meta.st_uid

    def holds(self, writers=20):
        """As it was set up, the unit's own, and alone."""
        info = Client(PORT).info()
        must(info["role"] == "master", f"it is a {info['role']}")
        wait("the unit's own process", lambda: shown("cache", "MainPID") == info["process_id"], 20)
        must(shown("cache", "ActiveState") == "active", shown("cache", "ActiveState"))
        must(self.file() == self.before, f"the configuration file is another one:\n{self.CONF.read_text()}")
        left = [p.name for f in ("/etc/cache", "/var/lib/cache") for p in Path(f).iterdir() if ".unfrag" in p.name]
        must(not left, f"left behind: {left}")
        must(trials.keys() == KEYS + writers, f"{trials.keys()} keys")
        wait("one process", lambda: self.processes() == [info["process_id"]], 20)

    def processes(self):
        def runs(folder):
            try:
                return os.readlink(folder / "exe") == str(self.program)
            except OSError:
                return False
        return [folder.name for folder in Path("/proc").iterdir() if folder.name.isdigit() and runs(folder)]

    def end(self):
        told("systemctl", "stop", "cache")
        told("systemctl", "reset-failed", "cache", fine=(0, 1))


def with_unit(what):
    def run(unfrag, servers, shape, *arguments):
        unit = Unit(servers, shape)
        try:
            return what(unfrag, unit, *arguments)
        finally:
            unit.end()
    return run


@with_unit
def restart(unfrag, unit, mode):
    if unit.stops and mode == "swap":
        # It would be run as the first process ends, and end the second one.
        refused = told(unfrag, "restart", "-p", PORT, *WORDS[mode], "--yes", fine=(6,))
        must("SHUTDOWN SAVE" in in_a_line(refused), in_a_line(refused))
        unit.holds(writers=0)
        return "refused, for its ExecStop"
    # After it nobody would keep the server: refused without --supervised.
    refused = told(unfrag, "restart", "-p", PORT, "--mode", "swap", "--yes", fine=(6,))
    must(START in in_a_line(refused), in_a_line(refused))
    dry = told(unfrag, "restart", "-p", PORT, *WORDS[mode], "--dry-run")
    must(START in in_a_line(dry), in_a_line(dry))
    if mode == "plain":
        trials.slow_save()
    said = trials.restarted(unfrag, *WORDS[mode])
    unit.holds()
    # What it left on disk is what any later start needs.
    keys = trials.keys()
    told("systemctl", "restart", "cache")
    wait("the server", lambda: answers() and trials.keys() == keys)
    return said


@with_unit
def killed(unfrag, unit, mode, step, time_):
    said = trials.killed_and_undone(unfrag, step, time_, *WORDS[mode])
    unit.holds()
    return said


def fetched(path):
    with urlopen(f"http://127.0.0.1:9122{path}", timeout=10) as answer:
        return answer.read().decode()


@with_unit
def watch(unfrag, _unit):
    """The unit that unfrag prints, as it prints it."""
    shutil.copy(unfrag, "/usr/bin/unfrag")
    folder, path = Path("/etc/unfrag"), Path(UNITS, "unfrag-watch.service")
    folder.mkdir()
    (folder / "token").write_text("a token of the trial, long enough\n")
    (folder / "token").chmod(0o600)
    config = folder / "watch.toml"
    config.write_text(f'targets = ["127.0.0.1:{PORT}"]\n')
    text = told(unfrag, "watch", "--print-unit").stdout
    path.write_text(text)
    verified = told("systemd-analyze", "verify", path)
    must("unfrag" not in verified.stderr, f"systemd-analyze verify: {verified.stderr}")
    security = told("systemd-analyze", "security", "--offline=true", path).stdout.strip().splitlines()[-1]
    # The token is commented out in what is printed; and a short watchdog has pings that can be waited for.
    path.write_text(text.replace("#LoadCredential=token:", "LoadCredential=token:").replace("WatchdogSec=60s", "WatchdogSec=2s"))
    told("systemctl", "daemon-reload")
    try:
        told("systemctl", "start", "unfrag-watch")
        said = watched(config)
    finally:
        told("systemctl", "stop", "unfrag-watch")
    must(shown("unfrag-watch", "Result") == "success", shown("unfrag-watch", "Result"))
    return f"{said}; {security.strip()}"


def watched(config):
    must(shown("unfrag-watch", "ActiveState") == "active", "not active")
    first = shown("unfrag-watch", "WatchdogTimestampMonotonic")
    wait("pings of the watchdog", lambda: shown("unfrag-watch", "WatchdogTimestampMonotonic") not in (first, "0"))
    wait("the server", lambda: f"127.0.0.1:{PORT}" in fetched("/metrics"))
    pid = shown("unfrag-watch", "MainPID")
    must(json.loads(fetched("/api/v1/overview"))["can_act"], "the credential was not read")
    config.write_text(f'targets = ["localhost:{PORT}"]\n')
    told("systemctl", "reload", "unfrag-watch")
    wait("the reload", lambda: f"localhost:{PORT}" in fetched("/metrics"))
    must(shown("unfrag-watch", "MainPID") == pid, "a reload started it again")
    must(shown("unfrag-watch", "NRestarts") == "0", "it was restarted")
    status = shown("unfrag-watch", "StatusText")
    begun = time.monotonic()
    told("systemctl", "stop", "unfrag-watch")
    return f"`{status}`, stopped after {time.monotonic() - begun:.2f} s"


def log():
    return told("journalctl", "--unit=cache", "--unit=unfrag-watch", "--lines=30", "--no-pager", "--output=cat").stdout


def inside(unfrag, servers, wanted):
    shapes = list(SHAPES)
    all_of_them = [(f"{SHAPES[shape][0]:<13}{shape:<16}{mode}", partial(restart, unfrag, servers, shape, mode))
                   for shape in shapes for mode in ("plain", "swap")]
    for n, (mode, step, time_) in enumerate(KILLED):
        able = shapes if mode == "plain" else [shape for shape in shapes if shape != "ExecStop"]
        shape = able[n % len(able)]
        name = f"{SHAPES[shape][0]:<13}{shape:<16}{mode}, killed at {step} {time_}"
        all_of_them.append((name, partial(killed, unfrag, servers, shape, mode, step, time_)))
    all_of_them.append(("unfrag watch", partial(watch, unfrag, servers, shapes[0])))
    return trials.rows(all_of_them, wanted, log)


if __name__ == "__main__":
    trials.main(__file__, inside)
