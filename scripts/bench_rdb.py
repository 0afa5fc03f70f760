#!/usr/bin/env python3
"""Measures unfrag's RDB engine beside its peers, in the same run, on snapshots that a real server wrote.

Three corpora (small strings, mixed keys, big JSON values) are generated with Lua on target/servers/redis-8.2.3 and kept
under target/bench-rdb. Peers: redis-check-rdb of the servers at hand, and the crate `rdb` (built on first use).
What cannot be had is named and left out. Prints MB of file a second, keys a second, CPU seconds, peak memory
(all, and without the mapped file), and the ratio to redis-check-rdb 8.2.3.

Usage: bench_rdb.py [--scale 1.0] [--runs 3] [--corpus NAME] [--generate-only]
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / "target" / "bench-rdb"
SERVERS = ROOT / "target" / "servers"
GENERATOR = "redis-8.2.3"

SMALL = """
math.randomseed(tonumber(ARGV[1]))
for i = ARGV[1], ARGV[2] do
  local n = math.random(0, 0xffffff)
  local kind = i % 4
  local value
  if kind == 0 then value = i * 7919
  elseif kind == 1 then value = string.format('%08x-%04x-%06x-%08x', i * 2654435761 % 4294967296, i % 65536, n, n * 40503 % 4294967296)
  else value = string.format('%06x%08x%08x%06x%08x%04x%06x', n, i * 2654435761 % 4294967296, n * 69069 % 4294967296, n, i * 40503 % 4294967296, i % 65536, n) end
  redis.call('SET', string.format('session:%010d', i), value)
end
"""

MIXED = """
math.randomseed(tonumber(ARGV[1]))
local words = {'alpha','bravo','charlie','delta','echo','foxtrot','golf','hotel','india','juliet','kilo','lima','mike','november'}
local function word() return words[math.random(#words)] .. math.random(0, 99999) end
local function text(n) local t = {} for i = 1, n do t[i] = word() end return table.concat(t, ' ') end
for i = ARGV[1], ARGV[2] do
  local kind = i % 20
  local key = 'k' .. kind .. ':' .. i
  local args = {}
  if kind < 3 then redis.call('SET', key, i * 31)
  elseif kind < 6 then redis.call('SET', key, text(20), 'PX', 100000000 + i)
  elseif kind < 8 then redis.call('SET', key, text(80))
  elseif kind < 10 then for j = 1, 20 do args[j * 2 - 1] = 'field' .. j; args[j * 2] = word() end redis.call('HSET', key, unpack(args))
  elseif kind == 10 then for j = 1, 100 do args[j * 2 - 1] = word() .. j; args[j * 2] = text(3) end redis.call('HSET', key, unpack(args))
  elseif kind == 11 then for j = 1, 30 do args[j] = word() end redis.call('RPUSH', key, unpack(args))
  elseif kind == 12 then for j = 1, 200 do args[j] = text(2) end redis.call('RPUSH', key, unpack(args))
  elseif kind == 13 then for j = 1, 100 do args[j] = math.random(0, 1000000) end redis.call('SADD', key, unpack(args))
  elseif kind == 14 then for j = 1, 40 do args[j] = word() end redis.call('SADD', key, unpack(args))
  elseif kind == 15 then for j = 1, 160 do args[j] = word() .. j end redis.call('SADD', key, unpack(args))
  elseif kind == 16 then for j = 1, 40 do args[j * 2 - 1] = math.random(0, 100000); args[j * 2] = word() end redis.call('ZADD', key, unpack(args))
  elseif kind == 17 then for j = 1, 150 do args[j * 2 - 1] = math.random(); args[j * 2] = word() .. j end redis.call('ZADD', key, unpack(args))
  elseif kind == 18 then
    for j = 1, 20 do redis.call('XADD', key, i .. '-' .. j, 'name', word(), 'text', text(4)) end
    if i % 40 == 18 then
      redis.call('XGROUP', 'CREATE', key, 'workers', '0')
      redis.call('XREADGROUP', 'GROUP', 'workers', 'one', 'COUNT', 5, 'STREAMS', key, '>')
    end
  else for j = 1, 10 do args[j * 2 - 1] = 'f' .. j; args[j * 2] = text(8) end redis.call('HSET', key, unpack(args)) redis.call('HPEXPIRE', key, 100000000 + i, 'FIELDS', 2, 'f1', 'f2') end
end
"""

JSON = """
math.randomseed(tonumber(ARGV[1]))
local names = {'Anna','Ben','Chloe','David','Emma','Felix','Greta','Hugo','Ida','Jonas','Klara','Leon'}
local states = {'active','blocked','pending','deleted'}
for i = ARGV[1], ARGV[2] do
  local wanted = math.floor(1024 * math.exp(math.random() ^ 2.2 * math.log(1024)))
  local rows, size = {}, 0
  while size < wanted do
    local row = string.format('{"id":%d,"name":"%s","email":"%s%d@example.com","state":"%s","balance":%.2f,"token":"%08x%08x","tags":["%s","%s"]}',
      math.random(1, 99999999), names[math.random(12)], names[math.random(12)], math.random(1, 9999), states[math.random(4)], math.random() * 10000,
      math.random(0, 2147483647), math.random(0, 2147483647), names[math.random(12)], states[math.random(4)])
    rows[#rows + 1] = row
    size = size + #row + 1
  end
  redis.call('SET', 'doc:' .. i, '[' .. table.concat(rows, ',') .. ']')
end
"""

# name -> (script, keys at scale 1, keys a call)
CORPORA = {"small": (SMALL, 10_000_000, 100_000), "mixed": (MIXED, 2_000_000, 10_000), "json": (JSON, 50_000, 200)}


class Server:
    """A real server on a loopback port of its own, stopped by its process id."""

    def __init__(self, name, directory, *options):
        binary = SERVERS / name / ("valkey-server" if name.startswith("valkey") else "redis-server")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        log = open(Path(directory) / "server.log", "w")
        self.process = subprocess.Popen(
            [str(binary), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory), "--save", "", *options],
            stdout=log, stderr=log)
        for _ in range(600):
            try:
                self.socket = socket.create_connection(("127.0.0.1", port))
                self.file = self.socket.makefile("rb")
                if self.command("PING") == b"PONG":
                    return
                self.socket.close()
            except (OSError, RuntimeError):
                pass
            time.sleep(0.1)
        raise RuntimeError(f"{name} did not start: see {directory}/server.log")

    def send(self, *arguments):
        parts = [b"*%d\r\n" % len(arguments)]
        for argument in arguments:
            data = argument if isinstance(argument, bytes) else str(argument).encode()
            parts.append(b"$%d\r\n%s\r\n" % (len(data), data))
        self.socket.sendall(b"".join(parts))

    def reply(self):
        line = self.file.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise RuntimeError(rest.decode())
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self.reply() for _ in range(int(rest))]
        return int(rest) if kind == b":" else rest

    def command(self, *arguments):
        self.send(*arguments)
        return self.reply()

    def stop(self):
        try:
            self.send("SHUTDOWN", "NOSAVE")
        except OSError:
            pass
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.terminate()
            self.process.wait()


def generate(name, scale):
    script, keys, step = CORPORA[name]
    keys = max(step, int(keys * scale))
    path = HOME / f"{name}-{keys}.rdb"
    if path.exists():
        return path
    HOME.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=HOME) as directory:
        server = Server(GENERATOR, directory, "--enable-debug-command", "local", "--busy-reply-threshold", "600000")
        try:
            for start in range(1, keys + 1, step):
                server.command("EVAL", script, "0", start, min(start + step - 1, keys))
            server.command("SAVE")
        finally:
            server.stop()
        os.replace(Path(directory) / "dump.rdb", path)
    return path


def peers():
    """Name -> arguments before the file. What is not there is told."""
    found = {}
    for name in ["redis-8.2.3", "redis-7.0.15", "redis-6.2.5", "valkey-9.1.2", "valkey-8.1.8"]:
        kind = "valkey" if name.startswith("valkey") else "redis"
        binary = SERVERS / name / f"{kind}-server"
        if not binary.exists():
            print(f"left out: {name} (scripts/servers.py brings it)")
            continue
        # The servers are their own checkers when called by that name.
        checker = HOME / f"{kind}-check-rdb-{name}" / f"{kind}-check-rdb"
        checker.parent.mkdir(parents=True, exist_ok=True)
        if not checker.exists():
            checker.symlink_to(binary.resolve())
        found[f"{kind}-check-rdb {name.split('-')[1]}"] = [str(checker)]
    crate = crate_rdb()
    if crate:
        found["crate rdb 0.4.0 (walk, no checksum)"] = [str(crate)]
    go = shutil.which("rdb")
    if go:
        found["HDT3213/rdb memory"] = [go, "-c", "memory", "-o", os.devnull]
    else:
        print("left out: HDT3213/rdb (needs Go: go install github.com/hdt3213/rdb@latest, on PATH as rdb)")
    print("left out: librdb (in no package registry)")
    return found


PEER_TOML = '[package]\nname = "peer"\nversion = "0.0.0"\nedition = "2021"\n[dependencies]\nrdb = "=0.4.0"\n[workspace]\n'
PEER_MAIN = """fn main() {
    let path = std::env::args().nth(1).expect("a file");
    let file = std::io::BufReader::with_capacity(1 << 20, std::fs::File::open(path).expect("it opens"));
    rdb::parse(file, rdb::formatter::Nil::new(None), rdb::filter::Simple::new()).expect("it parses");
}
"""


def crate_rdb():
    home = HOME / "crate-rdb"
    binary = home / "target" / "release" / "peer"
    if binary.exists():
        return binary
    (home / "src").mkdir(parents=True, exist_ok=True)
    (home / "Cargo.toml").write_text(PEER_TOML)
    (home / "src" / "main.rs").write_text(PEER_MAIN)
    built = subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=home, capture_output=True, text=True, env={**os.environ, "CARGO_TARGET_DIR": str(home / "target")})
    if built.returncode != 0:
        print(f"left out: crate rdb 0.4.0 does not build here: {built.stderr.strip().splitlines()[-1:]}")
        return None
    return binary


def ours():
    subprocess.run(["cargo", "build", "--release", "--quiet", "--bin", "unfrag"], cwd=ROOT, check=True)
    binary = str(Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "unfrag")
    return {"unfrag rdb verify": [binary, "rdb", "verify"], "unfrag rdb size (per key, type, total)": [binary, "rdb", "size"]}


def anonymous_peak_kib(pid):
    """Memory besides mapped files, sampled while the process runs."""
    peak = 0
    while True:
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            return peak
        fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        if fields.get("State", "Z").strip().startswith("Z"):
            return peak
        peak = max(peak, int(fields.get("RssAnon", "0 kB").split()[0]))
        time.sleep(0.005)


def run(arguments, path):
    start = time.monotonic()
    process = subprocess.Popen([*arguments, str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    anonymous = anonymous_peak_kib(process.pid)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - start
    return {"seconds": seconds, "cpu": usage.ru_utime + usage.ru_stime, "rss_mib": usage.ru_maxrss / 1024, "anonymous_mib": anonymous / 1024, "code": process.returncode}


def measure(name, path, tools, runs):
    with open(path, "rb") as warm:
        while warm.read(1 << 20):
            pass
    megabytes = path.stat().st_size / 1e6
    keys = int(path.stem.rsplit("-", 1)[1])
    best = {}
    # Round by round, so that a slow minute of the machine hits everyone.
    for _ in range(runs):
        for tool, arguments in tools.items():
            result = run(arguments, path)
            if tool not in best or result["seconds"] < best[tool]["seconds"]:
                best[tool] = result
    reference = best.get("redis-check-rdb 8.2.3", {}).get("seconds")
    print(f"\n{name}: {megabytes:.0f} MB, {keys:,} keys, best of {runs}")
    print(f"{'':38} {'MB/s':>7} {'Mkeys/s':>8} {'CPU s':>7} {'RSS MiB':>8} {'anon MiB':>9} {'ratio':>7}")
    for tool, result in best.items():
        if result["code"] != 0:
            # An older checker stops at a version it does not know: that is no speed.
            print(f"{tool:38} cannot read it (exit {result['code']})")
            continue
        ratio = f"{reference / result['seconds']:.2f}" if reference else "-"
        print(f"{tool:38} {megabytes / result['seconds']:7.0f} {keys / result['seconds'] / 1e6:8.2f} {result['cpu']:7.2f} {result['rss_mib']:8.0f} {result['anonymous_mib']:9.0f} {ratio:>7}")
    return {"corpus": name, "megabytes": megabytes, "keys": keys, "results": best}


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--scale", type=float, default=1.0)
    arguments.add_argument("--runs", type=int, default=3)
    arguments.add_argument("--corpus", choices=list(CORPORA), action="append")
    arguments.add_argument("--generate-only", action="store_true")
    arguments.add_argument("--json", type=Path, help="also write the figures here")
    options = arguments.parse_args()
    names = options.corpus or list(CORPORA)
    paths = {name: generate(name, options.scale) for name in names}
    if options.generate_only:
        print(*paths.values(), sep="\n")
        return
    tools = {**peers(), **ours()}
    figures = [measure(name, path, tools, options.runs) for name, path in paths.items()]
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    sys.exit(main())
