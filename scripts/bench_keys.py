#!/usr/bin/env python3
"""Measures `unfrag keys` beside its peers, in the same run, on data a real server made.

1. Pattern report of a snapshot of 10 M keys: beside HDT3213's prefix report (`rdb`, if it is on the PATH), and beside
   redis-check-rdb, which only reads.
2. Live, 1 M mixed keys: beside `redis-cli --memkeys` and `redis-cli --rdb` on the same server: wall time, the main
   thread's CPU, and the p99 of a concurrent reader with and without.

What cannot be had is named and left out. Snapshots are kept under target/bench-keys.

Usage: bench_keys.py UNFRAG [--keys 10000000] [--live 1000000] [--runs 3] [--skip-live]
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / "target" / "bench-keys"
SERVERS = ROOT / "target" / "servers"
SERVER = SERVERS / "redis-8.2.3" / "redis-server"
CLI = next((p for p in SERVERS.glob("*/redis-cli")), None) or shutil.which("redis-cli")

PATTERNS = """
for i = ARGV[1], ARGV[2] do
  local k = i % 10
  if k < 4 then redis.call('SET', 'user:' .. i .. ':name', 'n' .. i)
  elseif k < 6 then redis.call('SET', string.format('session:%08x%08x%08x', i * 7919 % 4294967296, i, i * 104729 % 4294967296), 'u' .. i, 'EX', 3600 + i % 100000)
  elseif k < 8 then redis.call('SET', 'product:' .. i .. ':price', i * 7)
  elseif k < 9 then redis.call('SET', 'page:/blog/' .. (i % 97) .. '/2026-01-' .. string.format('%02d', i % 28 + 1) .. ':' .. i, i)
  else redis.call('SET', 'cache_' .. i .. '_html', '<html>' .. i .. '</html>') end
end
"""

MIXED = """
for i = ARGV[1], ARGV[2] do
  local k, a = i % 10, {}
  if k < 4 then redis.call('SET', 'user:' .. i .. ':name', string.rep('n', i % 60))
  elseif k < 6 then redis.call('SET', 'doc:' .. i, string.rep('{"id":' .. i .. ',"state":"active"}', 1 + i % 12), 'EX', 86400)
  elseif k == 6 then for j = 1, 12 do a[2 * j - 1] = 'field' .. j; a[2 * j] = i * j end redis.call('HSET', 'profile:' .. i, unpack(a))
  elseif k == 7 then for j = 1, 20 do a[j] = 'tag' .. (i * j % 9973) end redis.call('SADD', 'tags:' .. i, unpack(a))
  elseif k == 8 then for j = 1, 30 do a[2 * j - 1] = j * i % 1000; a[2 * j] = 'm' .. j end redis.call('ZADD', 'board:' .. i, unpack(a))
  else for j = 1, 25 do a[j] = 'item ' .. j * i end redis.call('RPUSH', 'queue:' .. i, unpack(a)) end
end
"""


class Server:
    def __init__(self, folder, *more):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [str(SERVER), "--port", str(self.port), "--save", "", "--dir", str(folder),
                   "--repl-diskless-sync-delay", "0", "--enable-debug-command", "local", *more]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        until = time.time() + 120
        while True:
            try:
                if self.send("PING") == b"+PONG":
                    return
            except OSError:
                pass
            if time.time() > until:
                sys.exit("the server does not start")
            time.sleep(0.05)

    def send(self, *words):
        with socket.create_connection(("127.0.0.1", self.port), timeout=600) as link:
            return ask(link.makefile("rwb"), *words)

    def fill(self, script, keys):
        with socket.create_connection(("127.0.0.1", self.port), timeout=600) as link:
            file = link.makefile("rwb")
            for start in range(1, keys + 1, 20_000):
                reply = ask(file, "EVAL", script, "0", str(start), str(min(keys, start + 19_999)))
                if reply.startswith(b"-"):
                    sys.exit(reply.decode())

    def main_thread_s(self):
        fields = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        self.process.terminate()
        self.process.wait()


def ask(file, *words):
    words = [w.encode() if isinstance(w, str) else w for w in words]
    file.write(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
    file.flush()
    line = file.readline().rstrip(b"\r\n")
    if line.startswith(b"$") and line != b"$-1":
        file.read(int(line[1:]) + 2)
    return line


def run(command, **more):
    """Wall seconds, CPU seconds, peak MiB."""
    begun = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **more)
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.monotonic() - begun
    code = os.waitstatus_to_exitcode(status)
    if code != 0:
        print(f"  {command[0]} ended with {code}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def best(runs, command, **more):
    return min((run(command, **more) for _ in range(runs)), key=lambda r: r[0])


def snapshot(keys):
    place = HOME / f"patterns-{keys}.rdb"
    if not place.exists():
        server = Server(HOME, "--dbfilename", place.name + ".part", "--rdbcompression", "no")
        try:
            server.fill(PATTERNS, keys)
            server.send("SAVE")
        finally:
            server.stop()
        place.with_name(place.name + ".part").rename(place)
    return place


def reports(unfrag, keys, runs):
    place = snapshot(keys)
    size = place.stat().st_size
    print(f"pattern report of {keys:,} keys, {size / 2**20:.0f} MiB, best of {runs}")
    place.read_bytes()  # Everyone finds it in the page cache.
    rows = [("unfrag keys", [unfrag, "keys", str(place)])]
    rows.append(("unfrag keys, one pipe", None))
    checker = SERVERS / "redis-8.2.3" / "redis-check-rdb"
    peers = [("redis-check-rdb", shutil.which("redis-check-rdb") or (str(checker) if checker.exists() else None))]
    # A server binary under this name is the checker.
    if peers[0][1] is None:
        link = HOME / "redis-check-rdb"
        if not link.exists():
            link.symlink_to(SERVER)
        peers = [("redis-check-rdb", str(link))]
    hdt = shutil.which("rdb")
    result = {}
    for name, command in rows:
        if command is None:
            with open(place, "rb") as file:
                result[name] = run([unfrag, "keys", "-"], stdin=file)
        else:
            result[name] = best(runs, command)
    for name, path in peers:
        result[name + " (reads only)"] = best(runs, [path, str(place)])
    if hdt:
        result["HDT3213 prefix, separator"] = best(1, [hdt, "-c", "prefix", "-sep", ":", "-n", "100", "-o", os.devnull, str(place)])
    else:
        print("  HDT3213/rdb is not on the PATH (go install github.com/hdt3213/rdb@latest): left out")
    ours = result["unfrag keys"][0]
    for name, (wall, cpu, peak) in result.items():
        print(f"  {name:<28}{wall:8.2f} s {cpu:8.2f} s CPU {peak:8.0f} MiB   {wall / ours:6.1f} x")


class Reader(threading.Thread):
    """Reads one key after another and notes how long each took."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.taken, self.ends = port, [], False

    def run(self):
        with socket.create_connection(("127.0.0.1", self.port)) as link:
            file = link.makefile("rwb")
            while not self.ends:
                begun = time.perf_counter()
                ask(file, "GET", "user:10:name")
                self.taken.append(time.perf_counter() - begun)
                time.sleep(0.001)

    def p99_ms(self):
        self.ends = True
        self.join()
        taken = sorted(self.taken)
        return taken[len(taken) * 99 // 100] * 1000 if taken else 0.0


def live(unfrag, keys):
    server = Server(HOME)
    try:
        server.fill(MIXED, keys)
        reader = Reader(server.port)
        reader.start()
        time.sleep(5)
        quiet = reader.p99_ms()
        print(f"live, {keys:,} mixed keys; a reader's p99 alone is {quiet:.2f} ms")
        at = ["-p", str(server.port)]
        out = HOME / "live.rdb"
        commands = [("unfrag keys", [unfrag, "keys", "127.0.0.1:%d" % server.port])]
        if CLI:
            commands.append(("redis-cli --rdb", [str(CLI), *at, "--rdb", str(out)]))
            commands.append(("redis-cli --memkeys", [str(CLI), *at, "--memkeys"]))
        else:
            print("  redis-cli cannot be had: left out")
        found = {}
        for name, command in commands:
            while b"rdb_bgsave_in_progress:1" in info(server):
                time.sleep(0.1)
            reader = Reader(server.port)
            reader.start()
            before = server.main_thread_s()
            wall, cpu, peak = run(command)
            spent = server.main_thread_s() - before
            found[name] = (wall, spent)
            print(f"  {name:<22}{wall:8.2f} s   server's main thread {spent:6.2f} s   added p99 {reader.p99_ms() - quiet:+.2f} ms"
                  f"   own CPU {cpu:.2f} s, {peak:.0f} MiB")
        if "redis-cli --rdb" in found:
            print(f"  wall to redis-cli --rdb: {found['unfrag keys'][0] / found['redis-cli --rdb'][0]:.2f}; "
                  f"main thread to --memkeys: {100 * found['unfrag keys'][1] / max(0.01, found['redis-cli --memkeys'][1]):.1f} %")
        out.unlink(missing_ok=True)
    finally:
        server.stop()


def info(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as link:
        link.sendall(b"INFO persistence\r\n")
        return link.recv(65536)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("unfrag")
    parser.add_argument("--keys", type=int, default=10_000_000)
    parser.add_argument("--live", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--skip-live", action="store_true")
    args = parser.parse_args()
    HOME.mkdir(parents=True, exist_ok=True)
    reports(str(Path(args.unfrag).resolve()), args.keys, args.runs)
    if not args.skip_live:
        live(str(Path(args.unfrag).resolve()), args.live)


main()
