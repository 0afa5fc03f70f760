#!/usr/bin/env python3
"""Gap, lost writes, RSS before and after: `unfrag restart` beside the recipe that people follow.

Usage: bench_restart.py UNFRAG [SERVERS] [KEYS] [MODES]    lists with commas; modes: recipe, plain, rolling, swap

Each row has a server of its own (rolling: with a replica): filled, two thirds of its keys deleted at random, then twenty
clients that send acknowledged increments and reconnect as real clients do. The recipe is BGSAVE, wait for LASTSAVE,
redis-check-rdb where there is one, kill, start. RSS is compared with the plain restart's of the same server, and beside
each row is said where the client that waited longest spent its time.
"""

import multiprocessing
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CLIENTS = 20
VALUE_BYTES = 100
SETTLE_S = 1.0


class Gone(Exception):
    """The connection is of no use any more, or the server will not serve us now."""


class Client:
    """The least of a client: one connection, one command at a time."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=600)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def send(self, *words):
        parts = [b"*%d\r\n" % len(words)]
        for word in words:
            word = word if isinstance(word, bytes) else str(word).encode()
            parts.append(b"$%d\r\n%s\r\n" % (len(word), word))
        return b"".join(parts)

    def call(self, *words):
        self.socket.sendall(self.send(*words))
        return self.reply()

    def many(self, commands):
        self.socket.sendall(b"".join(self.send(*c) for c in commands))
        return [self.reply() for _ in commands]

    def reply(self):
        line = self.file.readline()
        if not line:
            raise Gone("closed")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise Gone(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self.reply() for _ in range(int(rest))]
        return rest.decode()

    def info(self):
        text = self.call("INFO").decode()
        return dict(line.split(":", 1) for line in text.split("\r\n") if ":" in line)


def asks(port):
    """A connection that is as cheap as can be: these clients share the machine with what they measure."""
    connection = socket.socket()
    try:
        connection.connect(("127.0.0.1", port))
    except OSError:
        connection.close()
        raise
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def count(connection, command):
    """The answer to INCR."""
    connection.sendall(command)
    answer = connection.recv(512)
    while answer and not answer.endswith(b"\r\n"):
        answer += connection.recv(512)
    if answer[:1] != b":":
        raise Gone(answer.decode().split(" ")[0].strip() or "closed")
    return int(answer[1:])


def client(number, port, stop, results):
    """Counts what is answered; sees a loss when an answer counts less than one before."""
    connection, counted, acknowledged, lost, longest = None, 0, 0, 0, 0.0
    key = f"counter:{number}"
    command = f"*2\r\n$4\r\nINCR\r\n${len(key)}\r\n{key}\r\n".encode()
    last = mark = time.monotonic()
    # Milliseconds since the last answer by what went on, and the same for the longest wait.
    spent, story = {}, {}

    def account(what):
        nonlocal mark
        now = time.monotonic()
        spent[what] = spent.get(what, 0) + (now - mark) * 1000
        mark = now

    while not stop.is_set():
        what = "connecting"
        try:
            if connection is None:
                connection = asks(port)
                account(what)
            what = "waiting for an answer"
            value = count(connection, command)
            account(what)
        except (OSError, Gone) as error:
            account(f"{what} ({error if isinstance(error, Gone) else type(error).__name__})")
            connection = None
            time.sleep(0.001)
            account("between tries")
            continue
        now = time.monotonic()
        if now - last > longest:
            longest, story = now - last, spent
        last, spent = now, {}
        lost += max(0, counted + 1 - value)
        counted, acknowledged = value, acknowledged + 1
        time.sleep(0.002)
        account("idle")
    results.put((number, acknowledged, lost, longest, story))


class Load:
    """Twenty clients, each a process of its own, so that none holds another one up."""

    def __init__(self, port):
        self.stop, self.results = multiprocessing.Event(), multiprocessing.Queue()
        self.clients = [
            multiprocessing.Process(target=client, args=(n, port, self.stop, self.results))
            for n in range(CLIENTS)
        ]
        for process in self.clients:
            process.start()
        time.sleep(SETTLE_S)

    def end(self, port):
        time.sleep(SETTLE_S)
        self.stop.set()
        rows = [self.results.get() for _ in self.clients]
        for process in self.clients:
            process.join()
        connection = Client(port)
        short = 0
        for number, acknowledged, *_ in rows:
            short += max(0, acknowledged - int(connection.call("GET", f"counter:{number}") or 0))
        acknowledged, seen_lost = sum(r[1] for r in rows), sum(r[2] for r in rows)
        *_, longest, story = max(rows, key=lambda row: row[3])
        return acknowledged, max(short, seen_lost), longest * 1000, story


def free_port():
    while True:
        port = random.randrange(12000, 20000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port


class Server:
    """A server with a configuration file, in the background, in a folder of its own."""

    def __init__(self, binary, base, more=""):
        self.binary, self.base, self.port = binary, base, free_port()
        self.folder = Path(base) / str(self.port)
        self.folder.mkdir()
        self.conf = Path(base) / f"{self.port}.conf"
        debug = "" if "redis-6" in str(binary) else "enable-debug-command local\n"
        self.conf.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self.folder}\ndaemonize yes\nlogfile {self.folder}/log\n"
            f"pidfile {self.folder}/pid\nsave 3600 100000000\n{debug}{more}"
        )
        self.start()

    def line(self):
        return f"{self.binary} {self.base}/{{port}}.conf"

    def replica(self):
        """One that has everything."""
        other = Server(self.binary, self.base, f"replicaof 127.0.0.1 {self.port}\n")
        while Client(other.port).info().get("master_link_status") != "up":
            time.sleep(0.01)
        return other

    def start(self):
        subprocess.run([str(self.binary), str(self.conf)], check=True, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                if Client(self.port).call("PING") == "PONG":
                    return
            except (OSError, Gone):
                time.sleep(0.002)
        raise SystemExit(f"{self.binary} does not come up: {self.folder}/log")

    def pid(self):
        return int(Client(self.port).info()["process_id"])

    def rss(self):
        time.sleep(0.4)
        return int(Client(self.port).info()["used_memory_rss"])

    def fill(self, keys):
        """Three times the keys that stay, so that what stays is spread over the pages of all."""
        connection, batch = Client(self.port), 5000
        connection.call("DEBUG", "POPULATE", keys * 3, "key", VALUE_BYTES)
        gone = list(range(keys * 3))
        random.Random(7).shuffle(gone)
        for first in range(keys, keys * 3, batch):
            connection.call("UNLINK", *[f"key:{n}" for n in gone[first:first + batch]])

    def end(self):
        try:
            os.kill(self.pid(), signal.SIGKILL)
        except (OSError, Gone):
            pass
        shutil.rmtree(self.folder, ignore_errors=True)


def gone(pid):
    """Waits for the end of all its threads: the first is a zombie before the last has let go of the port."""
    while True:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
            if state == "Z" and len(os.listdir(f"/proc/{pid}/task")) < 2:
                return
        except (OSError, IndexError):
            return
        time.sleep(0.001)


def recipe(server, _unfrag):
    """As the blogs have it."""
    connection = Client(server.port)
    before = connection.call("LASTSAVE")
    time.sleep(1.1)
    connection.call("BGSAVE")
    while connection.call("LASTSAVE") == before:
        time.sleep(0.01)
    checker = server.binary.parent / "redis-check-rdb"
    if checker.exists():
        subprocess.run([str(checker), str(server.folder / "dump.rdb")], check=True, stdout=subprocess.DEVNULL)
    pid = server.pid()
    os.kill(pid, signal.SIGKILL)
    gone(pid)
    server.start()


def unfrag(mode):
    def run(server, binary):
        command = [binary, "restart", "-p", str(server.port), "--mode", mode, "--yes"]
        if mode != "swap":
            command += ["--start-command", server.line()]
        environment = {**os.environ, "XDG_STATE_HOME": str(server.folder / "state")}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"unfrag ended with {done.returncode}\n{done.stderr}{done.stdout}")
        if os.environ.get("BENCH_SAYS"):
            print(done.stdout)

    return run


MODES = {"recipe": recipe, "plain": unfrag("plain"), "rolling": unfrag("rolling"), "swap": unfrag("swap")}


def row(binary, mode, keys, program, base):
    """Acknowledged, lost, longest gap in ms, its story, RSS before and after."""
    server = Server(program, base)
    servers = [server]
    try:
        server.fill(keys)
        if mode == "rolling":
            servers.append(server.replica())
        before = server.rss()
        load = Load(server.port)
        MODES[mode](server, binary)
        acknowledged, lost, gap, story = load.end(server.port)
        return acknowledged, lost, gap, story, before, server.rss()
    finally:
        for each in servers:
            each.end()


def told(story):
    parts = sorted(((ms, what) for what, ms in story.items() if ms >= 1), reverse=True)
    return ", ".join(f"{ms:.0f} {what}" for ms, what in parts)


def main():
    words = sys.argv[1:]
    binary = str(Path(words[0]).resolve())
    servers = (words[1] if len(words) > 1 else "redis-7.0.15,redis-8.2.3,valkey-8.1.8,valkey-9.1.2").split(",")
    keys = int(words[2]) if len(words) > 2 else 200_000
    modes = (words[3] if len(words) > 3 else "recipe,plain,rolling,swap").split(",")
    base = tempfile.mkdtemp(prefix="unfrag-bench-")
    print(f"{keys} keys of {VALUE_BYTES} bytes, {CLIENTS} clients; longest gap in ms, and where it was spent")
    print(f"{'server':<14}{'mode':<8}{'gap':>7}{'acknowledged':>13}{'lost':>6}{'rss MiB':>9}{'after':>7}{'plain':>8}  where")
    for name in servers:
        folder = Path("target/servers") / name
        if not folder.is_dir():
            print(f"skipped: {folder} is not there")
            continue
        program = "valkey-server" if name.startswith("valkey") else "redis-server"
        plain = None
        for mode in modes:
            acknowledged, lost, gap, story, before, after = row(binary, mode, keys, (folder / program).absolute(), base)
            plain = after if mode == "plain" else plain
            against = f"{(after - plain) * 100 / plain:+.1f} %" if plain else ""
            print(
                f"{name:<14}{mode:<8}{gap:>7.0f}{acknowledged:>13}{lost:>6}"
                f"{before / 2**20:>9.1f}{after / 2**20:>7.1f}{against:>8}  {told(story)}",
                flush=True,
            )
    shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    main()
