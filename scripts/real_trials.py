"""What trials under real supervisors share: a server that is filled and thinned, `unfrag restart` and its death under load.

Each trial is a row; one fails by raising `Failed`. Nothing is judged by time.
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from bench_restart import Client, Gone, Load
from systemd_box import Box, Unable

PORT = 12800
KEYS = 60_000
# Microseconds a key that the final save sleeps, some more in truth: it takes longer than a short stop timeout gives.
SLOW_US = 20
WITHIN_S = 120
# Longer than it waits for a server that does not come up.
UNDONE_WITHIN_S = 300


class Failed(Exception):
    """What must not be."""


def must(holds, what):
    if not holds:
        raise Failed(what)


def wait(what, holds, within_s=WITHIN_S):
    deadline = time.monotonic() + within_s
    while not holds():
        must(time.monotonic() < deadline, f"{what}: not after {within_s} s")
        time.sleep(0.01)


def told(*words, fine=(0,)):
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, check=False)
    must(done.returncode in fine, f"{' '.join(map(str, words))} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def in_a_line(done):
    return " ".join((done.stdout + done.stderr).split())


def answers():
    try:
        return Client(PORT).call("PING") == "PONG"
    except (OSError, Gone):
        return False


def fill():
    """Three times the keys that stay, by ordinary commands: an append-only file is to have them, too."""
    connection, value = Client(PORT), "x" * 100
    for first in range(0, KEYS * 3, 5000):
        connection.many([("MSET", *[word for n in range(first, first + 5000) for word in (f"key:{n}", value)])])
    gone = [n for n in range(KEYS * 3) if n % 3]
    for first in range(0, len(gone), 5000):
        connection.call("UNLINK", *[f"key:{n}" for n in gone[first:first + 5000]])


def slow_save():
    """From now on, and until it ends, a save takes longer than the supervisor waits for a stop."""
    Client(PORT).call("CONFIG", "SET", "rdb-key-save-delay", SLOW_US)


def keys():
    return int(Client(PORT).info()["db0"].split("keys=")[1].split(",")[0])


def restarted(unfrag, *words):
    """`unfrag restart` under load."""
    run_id = Client(PORT).info()["run_id"]
    with under_load() as load:
        done = told(unfrag, "restart", "-p", PORT, *words, "--yes")
        acknowledged, lost, gap, _ = load.end(PORT)
    must(lost == 0, f"{lost} of {acknowledged} writes lost")
    must(Client(PORT).info()["run_id"] != run_id, "it is the process that it was")
    return f"gap {gap:5.0f} ms, {acknowledged} writes, {lost} lost; {given_back(done)}"


@contextmanager
def under_load():
    load = Load(PORT)
    try:
        yield load
    finally:
        for client in load.clients:
            client.kill()


def given_back(done):
    lines = [line.strip() for line in done.stdout.splitlines()]
    return next((line for line in lines if line.startswith("rss ") and "->" in line), "")


def killed_and_undone(unfrag, step, time_, *words):
    """unfrag is killed as it begins a step, for the nth time, under load; then `undo`."""
    with under_load() as load:
        kill_at(unfrag, step, time_, words)
        try:
            undone = subprocess.run([str(unfrag), "undo", "-p", str(PORT)], capture_output=True, text=True, check=False,
                                    timeout=UNDONE_WITHIN_S)
        except subprocess.TimeoutExpired as error:
            raise Failed(f"undo does not end: {error.stderr}") from error
        must(undone.returncode == 0, f"undo ended with {undone.returncode}\n{undone.stdout}{undone.stderr}")
        acknowledged, lost, gap, _ = load.end(PORT)
    must(lost == 0, f"{lost} of {acknowledged} writes lost\n{undone.stdout}")
    return f"gap {gap:5.0f} ms, {acknowledged} writes, {lost} lost; {in_a_line(undone)[:150]}"


def kill_at(unfrag, step, time_, words):
    process = subprocess.Popen([str(unfrag), "restart", "-p", str(PORT), *words, "--yes"], text=True,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    seen, is_killed, lines = 0, False, []
    for line in process.stderr:
        lines.append(line)
        # As a step is begun, its name and the server are said.
        seen += line.startswith("  ") and line.split() == [step, f"127.0.0.1:{PORT}"]
        if seen == time_ and not is_killed:
            process.kill()
            is_killed = True
    process.wait()
    must(is_killed, f"it never came to {step}\n{''.join(lines)}")


def rows(trials, wanted, log):
    """Runs what has all wanted words in its name; how many failed."""
    os.environ["XDG_STATE_HOME"] = "/run/state"
    failed = 0
    for name, what in trials:
        if not all(word in name for word in wanted):
            continue
        try:
            said = what()
        except Failed as error:
            failed += 1
            said = f"FAILED: {error}\n{log()}"
        print(f"{name:<58} {said}", flush=True)
    return failed


def main(script, inside):
    """Outside: a box, and the same script in it. `inside` takes unfrag, the servers' folder and the wanted words."""
    words = sys.argv[1:]
    if words[0] == "--inside":
        sys.exit(1 if inside(Path(words[1]), Path(words[2]), words[3:]) else 0)
    unfrag, servers = Path(words[0]).resolve(), Path(words[1]).resolve()
    # Told to end, it ends the box, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        box = Box()
    except Unable as why:
        print(f"skipped: no systemd of its own here: {why}")
        return
    try:
        print(box.run("systemctl", "--version").stdout.splitlines()[0], flush=True)
        inner = [sys.executable, script, "--inside", str(unfrag), str(servers), *words[2:]]
        code = subprocess.run(box.words(*inner), check=False).returncode
    finally:
        box.end()
    sys.exit(code)
