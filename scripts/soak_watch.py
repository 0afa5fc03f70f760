#!/usr/bin/env python3
"""make soak-watch: a day of looks in a quarter of an hour, over real servers that hang, flap, change their role and move.

`unfrag watch` looks a hundred times as often as by default (100 ms instead of 10 s), so that 864 s are the looks of 24 h. Meanwhile
servers are stopped and continued, killed and started anew, made replicas and primaries again, churned; the configuration is
read again; the page and /metrics are asked; the disk of the history fills up and is freed (where a tmpfs can be mounted); the
clock jumps (where libfaketime is installed: Debian's package faketime). Prints what was seen; ends with 1 when memory,
descriptors, threads or tasks have grown from the second quarter of the run to the last, or when something was not noticed.
SECONDS_SOAKED=120 for a trial.
"""
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

UNFRAG, SERVERS = Path(sys.argv[1]).absolute(), Path(sys.argv[2]).absolute()
SECONDS = int(os.environ.get("SECONDS_SOAKED", "864"))
FIRST, LISTEN = 23000, 29123
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
NAMES = ["redis-6.2.5", "redis-7.0.15", "redis-8.2.3", "valkey-8.1.8", "valkey-9.1.2"]
dice = random.Random(7)
started, watches = [], []


class Server:
    def __init__(self, name, port):
        self.name, self.port, self.child = name, port, None
        started.append(self)
        self.binary = next((SERVERS / name).glob("*-server"))
        self.start()

    def start(self):
        home = folder / str(self.port)
        home.mkdir(exist_ok=True)
        args = [self.binary, "--port", self.port, "--bind", "127.0.0.1", "--save", "", "--dir", home, "--enable-debug-command", "yes"]
        if self.name == "redis-6.2.5":
            args = args[:-2]
        self.child = subprocess.Popen([str(a) for a in args], stdout=subprocess.DEVNULL)

    def end(self):
        self.child.send_signal(signal.SIGCONT)
        self.child.kill()
        self.child.wait()

    def say(self, *words):
        """Sends one command and waits a little for its answer; a server that is down is no surprise here."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 0.5) as s:
                s.settimeout(2)
                parts = [str(w).encode() for w in words]
                s.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))
                return s.recv(65536)
        except OSError:
            return b""


def fault(one, servers):
    """One thing that goes wrong at a server; what undoes it is returned."""
    kind = dice.choice(["hang", "flap", "role", "churn", "config"])
    if kind == "hang":
        one.child.send_signal(signal.SIGSTOP)
        return kind, lambda: one.child.send_signal(signal.SIGCONT)
    if kind == "flap":
        one.end()
        return kind, one.start
    if kind == "role":
        same = [s for s in servers if s.name == one.name and s is not one]
        one.say("REPLICAOF", "127.0.0.1", same[0].port)
        return kind, lambda: one.say("REPLICAOF", "NO", "ONE")
    if kind == "churn":
        one.say("DEBUG", "POPULATE", dice.randrange(1000, 30000), f"k{dice.randrange(5)}", dice.randrange(10, 900))
        return kind, lambda: one.say("FLUSHALL")
    one.say("CONFIG", "SET", "maxmemory", dice.randrange(10**8, 10**9))
    return kind, lambda: one.say("CONFIG", "SET", "maxmemory", 0)


def get(path):
    with urllib.request.urlopen(f"http://127.0.0.1:{LISTEN}{path}", timeout=20) as answer:
        return answer.read().decode()


def state(pid):
    """RSS in MB, descriptors, threads and tasks of the watch, and the looks so far."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    text = get("/metrics")
    value = lambda name: sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))
    return {
        "rss_mb": int(status["VmRSS"].split()[0]) / 1024,
        "fds": len(os.listdir(f"/proc/{pid}/fd")),
        "threads": int(status["Threads"]),
        "tasks": value("unfrag_watch_tasks"),
        "looks": value("unfrag_looks_total{"),
        "errors": value("unfrag_watch_history_errors_total"),
    }


def begin(fleet, data, clock):
    env = dict(os.environ, XDG_STATE_HOME=str(folder))
    if clock:
        env.update(LD_PRELOAD=str(FAKETIME), FAKETIME_TIMESTAMP_FILE=str(clock), FAKETIME_DONT_FAKE_MONOTONIC="1", FAKETIME_CACHE_DURATION="1")
    args = [UNFRAG, "watch", "--config", fleet, "--data", data, "--listen", f"127.0.0.1:{LISTEN}", "--log-level", "error"]
    watches.append(subprocess.Popen([str(a) for a in args], env=env, stderr=(folder / "log").open("ab")))
    return watches[-1]


def ready():
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            return get("/-/ready")
        except OSError:
            time.sleep(0.1)
    sys.exit("the watch does not come up: " + (folder / "log").read_text()[-2000:])


def soak():
    servers = [Server(name, FIRST + 10 * n + m) for n, name in enumerate(NAMES) for m in range(2)]
    fleet = folder / "watch.toml"
    targets = ", ".join(f'"127.0.0.1:{s.port}"' for s in servers)
    fleet.write_text(f'targets = [{targets}, "127.0.0.1:1"]\ninterval = "100ms"\ndeep_interval = "6s"\n[history]\nmax_size = "64MB"\n')
    clock = folder / "clock" if FAKETIME.exists() else None
    if clock:
        clock.write_text("+0\n")
    data = folder / "data"
    data.mkdir()
    small = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(data)], stderr=subprocess.DEVNULL).returncode == 0
    print(f"{len(servers)} real servers and one address where nothing listens; clock jumps: {'yes' if clock else 'no libfaketime here'}; full disk: {'yes' if small else 'no mount here'}")
    watch = begin(fleet, data, clock)
    ready()
    counts, seen, done, full = {}, [], [], 0
    begun, wrong = time.monotonic(), []
    beat = 0
    while time.monotonic() - begun < SECONDS:
        time.sleep(1)
        beat += 1
        # One fault at a time at a server: a second start beside a stopped process would leave that stopped for ever.
        free = [s for s in servers if all(s is not d[1] for d in done)]
        if beat % 3 == 0 and free:
            one = dice.choice(free)
            kind, undo = fault(one, servers)
            counts[kind] = counts.get(kind, 0) + 1
            done.append((beat + dice.randrange(1, 6), one, undo))
        for _, _, undo in [d for d in done if d[0] <= beat]:
            undo()
        done = [d for d in done if d[0] > beat]
        get("/api/v1/overview")
        get(f"/api/v1/targets/{dice.randrange(1, len(servers) + 1)}/history?from={int(time.time()) - 3600}")
        if beat % 20 == 0:
            watch.send_signal(signal.SIGHUP)
            counts["reload"] = counts.get("reload", 0) + 1
        if clock and beat % 45 == 0:
            clock.write_text(dice.choice(["+3600\n", "-7200\n", "+3d\n", "-1d\n", "+0\n", "+0\n"]))
            counts["clock"] = counts.get("clock", 0) + 1
        if small and beat % 90 == 60:
            # Unbuffered: what a buffer still held would fail once more when it is closed.
            with (data / "fill").open("wb", buffering=0) as f:
                try:
                    while True:
                        f.write(bytes(4096))
                except OSError:
                    full += 1
        if small and beat % 90 == 80:
            (data / "fill").unlink(missing_ok=True)
        if watch.poll() is not None:
            sys.exit(f"the watch ended with {watch.returncode}: " + (folder / "log").read_text()[-2000:])
        if beat % 5 == 0:
            seen.append(state(watch.pid))
        if beat % 60 == 0:
            print("  " + ", ".join(f"{k} {v:.0f}" for k, v in seen[-1].items()), flush=True)
    for _, _, undo in done:
        undo()
    (data / "fill").unlink(missing_ok=True)
    if clock:
        clock.write_text("+0\n")
    # kill -9 in the middle of it, and again: it begins with what it knew.
    watch.kill()
    watch.wait()
    watch = begin(fleet, data, clock)
    ready()
    end = time.monotonic() + 60
    while time.monotonic() < end and get("/metrics").count("\nunfrag_up{") - get("/metrics").count("} 0\nunfrag_up{") < len(servers):
        time.sleep(1)
    up = sum(line.startswith("unfrag_up{") and line.endswith(" 1") for line in get("/metrics").splitlines())
    if up != len(servers):
        wrong.append(f"{up} of {len(servers)} servers are seen again at the end")
    asked = time.monotonic()
    watch.terminate()
    watch.wait(30)
    took = time.monotonic() - asked
    check = subprocess.run([sys.executable, "-c", f"import sqlite3; print(sqlite3.connect({str(data / 'history.sqlite')!r}).execute('PRAGMA integrity_check').fetchone()[0])"], capture_output=True, text=True)
    if check.stdout.strip() != "ok":
        wrong.append("the history is not whole: " + check.stdout + check.stderr)
    quarter = len(seen) // 4
    second, last = seen[quarter : 2 * quarter], seen[-quarter:]
    # SQLite's cache of pages grows to its 8 MB (store.rs) until far into the run: that is no leak, and 200 bytes a look are.
    for what, more in (("rss_mb", 4 + 8), ("fds", 8), ("threads", 2), ("tasks", 8)):
        # The middle: right after a reload the tasks of before are still going.
        a, b = (sorted(s[what] for s in part)[len(part) // 2] for part in (second, last))
        print(f"{what}: {a:.0f} in the second quarter (median), {b:.0f} in the last")
        if b > a * 1.1 + more:
            wrong.append(f"{what} grew from {a:.0f} to {b:.0f}")
    looks = seen[-1]["looks"]
    print(f"{looks:.0f} looks, {looks / (len(servers) + 1) / 8640:.2f} days of a server's at 10 s; faults: " + ", ".join(f"{n} {k}" for k, n in sorted(counts.items())) + f"; full disk {full} times, {seen[-1]['errors']:.0f} writes failed; ends in {took:.2f} s")
    for w in wrong:
        print("WRONG: " + w)
    return 1 if wrong else 0


folder = Path(tempfile.mkdtemp(prefix="unfrag-soak-"))
try:
    code = soak()
finally:
    for watch in watches:
        if watch.poll() is None:
            watch.kill()
            watch.wait()
    for server in started:
        server.end()
    subprocess.run(["umount", str(folder / "data")], check=False, stderr=subprocess.DEVNULL)
    shutil.rmtree(folder, ignore_errors=True)
sys.exit(code)
