#!/usr/bin/env python3
"""Measures `unfrag keys` and what `unfrag reshape` predicts beside their peers, in the same run, on data of real servers.

1. Pattern report of a snapshot of 10 M keys: beside HDT3213's prefix report (`rdb`, if it is on the PATH), and beside
   redis-check-rdb, which only reads.
2. Live, 1 M mixed keys: beside `redis-cli --memkeys` and `redis-cli --rdb` on the same server, in turn: wall time, the main
   thread's CPU, and the p99 of a concurrent reader with and without.
3. The saving that a dry run of `unfrag reshape` predicts beside the one measured: three data sets on five servers.

What cannot be had is named and left out. Snapshots are kept under target/bench-keys; --prepare makes them, so that the
measurement can have the machine alone.

Usage: bench_keys.py UNFRAG [--keys 10000000] [--live 1000000] [--runs 3] [--only report,live,saving] [--prepare]
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / "target" / "bench-keys"
SERVERS = ROOT / "target" / "servers"
SERVER = SERVERS / "redis-8.2.3" / "redis-server"
SAVING_ON = ["redis-6.2.5", "redis-7.0.15", "redis-8.2.3", "valkey-8.1.8", "valkey-9.1.2"]
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


USERS = """
for i = ARGV[1], ARGV[2] do
  local user = 'user:' .. math.floor(i / 4)
  local k = i % 4
  if k == 0 then redis.call('SET', user .. ':name', 'name of ' .. i)
  elseif k == 1 then redis.call('SET', user .. ':mail', 'u' .. i .. '@example.org')
  elseif k == 2 then redis.call('SET', user .. ':visits', i * 17)
  else redis.call('SET', user .. ':city', string.rep('c', i % 23)) end
end
"""

TOKENS = """
for i = ARGV[1], ARGV[2] do
  redis.call('SET', 'token:' .. (100000 + i), string.format('%08x%08x', i * 7919 % 4294967296, i))
end
"""

DOCUMENTS = """
local words = {'memory', 'server', 'page', 'slab', 'key', 'value', 'reads', 'writes', 'of', 'the'}
for i = ARGV[1], ARGV[2] do
  local text, state = {}, i
  for j = 1, 20 + i % 300 do
    state = (state * 1103515245 + 12345) % 2147483648
    text[j] = words[1 + math.floor(state / 65536) % 10]
  end
  redis.call('SET', 'doc:' .. i, '{"id":' .. i .. ',"text":"' .. table.concat(text, ' ') .. '"}')
end
"""

# Name, what fills it, keys, arguments of reshape.
SAVINGS = [
    ("4 fields a hash", USERS, 200_000, ["hash", "--match", "user:{id}:{field}", "--into", "user:{id}"]),
    ("100 ids a hash", TOKENS, 200_000, ["hash", "--match", "token:{id}", "--into", "h:token:{id/100}"]),
    ("zlib", DOCUMENTS, 10_000, ["compress", "--match", "doc:*", "--codec", "zlib", "--min-size", "128"]),
]


class Server:
    def __init__(self, folder, *more, program=SERVER):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [str(program), "--port", str(self.port), "--save", "", "--dir", str(folder),
                   "--repl-diskless-sync-delay", "0", *more]
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

    def fill(self, script, keys, step=20_000):
        with socket.create_connection(("127.0.0.1", self.port), timeout=600) as link:
            file = link.makefile("rwb")
            for start in range(1, keys + 1, step):
                reply = ask(file, "EVAL", script, "0", str(start), str(min(keys, start + step - 1)))
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
    # Everyone finds it in the page cache. In pieces: what this process holds, its children seem to hold at their start.
    with open(place, "rb") as file:
        while file.read(1 << 20):
            pass
    rows = [("unfrag keys", [unfrag, "keys", str(place)])]
    rows.append(("unfrag keys, one pipe", None))
    # A server binary under this name is the checker, of the version that wrote the snapshot.
    checker = HOME / "redis-check-rdb"
    if not checker.is_symlink():
        checker.symlink_to(SERVER)
    peers = [("redis-check-rdb", str(checker))]
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


def live(unfrag, keys, runs):
    server = Server(HOME)
    try:
        server.fill(MIXED, keys)
        quiet = min(read_for(server, lambda: time.sleep(3))[1] for _ in range(runs))
        print(f"live, {keys:,} mixed keys, {runs} runs in turn; a reader's p99 alone is {quiet:.2f} ms")
        at = ["-p", str(server.port)]
        out = HOME / "live.rdb"
        commands = [("unfrag keys", [unfrag, "keys", "127.0.0.1:%d" % server.port], runs)]
        if CLI:
            commands.append(("redis-cli --rdb", [str(CLI), *at, "--rdb", str(out)], runs))
            commands.append(("redis-cli --memkeys", [str(CLI), *at, "--memkeys"], 1))
        else:
            print("  redis-cli cannot be had: left out")
        found = {name: [] for name, *_ in commands}
        for turn in range(runs):
            for name, command, times in commands:
                if turn < times:
                    found[name].append(beside_reader(server, command))
        for name, taken in found.items():
            wall, spent, p99, cpu, peak = (sorted(column)[len(taken) // 2] for column in zip(*taken))
            print(f"  {name:<22}{wall:8.2f} s   server's main thread {spent:6.2f} s   added p99 {p99 - quiet:+.2f} ms"
                  f"   own CPU {cpu:.2f} s, {peak:.0f} MiB   (medians of {len(taken)})")
            found[name] = (wall, spent)
        if "redis-cli --rdb" in found:
            print(f"  wall to redis-cli --rdb: {found['unfrag keys'][0] / found['redis-cli --rdb'][0]:.2f}; "
                  f"main thread to --memkeys: {100 * found['unfrag keys'][1] / max(0.01, found['redis-cli --memkeys'][1]):.1f} %")
        out.unlink(missing_ok=True)
    finally:
        server.stop()


def read_for(server, action):
    """What the action gives, and the p99 in ms of somebody who reads meanwhile."""
    reader = Reader(server.port)
    reader.start()
    result = action()
    return result, reader.p99_ms()


def beside_reader(server, command):
    while b"rdb_bgsave_in_progress:1" in info(server):
        time.sleep(0.1)
    before = server.main_thread_s()
    (wall, cpu, peak), p99 = read_for(server, lambda: run(command))
    return wall, server.main_thread_s() - before, p99, cpu, peak


def savings(unfrag):
    print("saving predicted by a dry run of reshape, and measured")
    for name in SAVING_ON:
        program = next(iter((SERVERS / name).glob("*-server")), None)
        if program is None:
            print(f"  {name} cannot be had: left out")
            continue
        for what, script, keys, args in SAVINGS:
            with tempfile.TemporaryDirectory(dir=HOME) as folder:
                server = Server(folder, "--slowlog-log-slower-than", "-1", program=program)
                try:
                    server.fill(script, keys, 1000)
                    command = [unfrag, "reshape", *args, "-p", str(server.port), "--yes", "-o", "json",
                               "--latency-budget", "200ms"]
                    done = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL,
                                          env={**os.environ, "XDG_STATE_HOME": folder})
                    if done.returncode != 0:
                        print(f"  {name:<14}{what:<18} ended with {done.returncode}: {done.stderr.decode()[-200:]}")
                        continue
                    told = json.loads(done.stdout)
                    predicted, measured = told["predicted_bytes"], told["measured_bytes"]
                    print(f"  {name:<14}{what:<18}{predicted / 2**20:8.2f} MiB predicted {measured / 2**20:8.2f} MiB measured"
                          f"   {100 * (predicted / measured - 1):+6.2f} %")
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
    parser.add_argument("--only", default="report,live,saving", help="parts, with commas")
    parser.add_argument("--prepare", action="store_true", help="only make the snapshots")
    args = parser.parse_args()
    HOME.mkdir(parents=True, exist_ok=True)
    if args.prepare:
        snapshot(args.keys)
        return
    unfrag, parts = str(Path(args.unfrag).resolve()), args.only.split(",")
    if "report" in parts:
        reports(unfrag, args.keys, args.runs)
    if "live" in parts:
        live(unfrag, args.live, args.runs)
    if "saving" in parts:
        savings(unfrag)


main()
