#!/usr/bin/env python3
"""Mutated snapshots through redis-check-rdb of each real server and through unfrag: who says what?

Each server saves a small database of every type it has. Copies are changed (bit flips, cuts, splices; the checksum made right
again, so that structure has to speak) and given to both. Prints how often both agree, and for each kind of
disagreement how many and one example.
Usage: check_agreement.py [--files 1000] [--server NAME]... [--keep DIR] [--payloads TSV]
"""

import argparse
import collections
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from bench_rdb import HOME, MIXED, ROOT, Server, peers
from size_truth import SERVERS

SEED = MIXED.replace("1, 100 do", "1, 12 do").replace("1, 200 do", "1, 12 do").replace("1, 160 do", "1, 12 do").replace("1, 150 do", "1, 12 do").replace("redis.call('HPEXPIRE'", "redis.pcall('HPEXPIRE'").replace("text(80)", "text(9)").replace("text(20)", "text(6)")

POLYNOMIAL = 0x95AC9329AC4BC9B5
TABLE = []
for i in range(256):
    crc = i
    for _ in range(8):
        crc = crc >> 1 ^ POLYNOMIAL if crc & 1 else crc >> 1
    TABLE.append(crc)


def crc64(data):
    crc = 0
    for byte in data:
        crc = TABLE[(crc ^ byte) & 255] ^ crc >> 8
    return crc


def mutate(data, random_):
    body = bytearray(data[:-8])
    kind = random_.choice(["flip", "flip", "byte", "splice", "delete", "cut", "checksum"])
    at = random_.randrange(9, len(body) - 1)
    if kind == "flip":
        body[at] ^= 1 << random_.randrange(8)
    elif kind == "byte":
        body[at] = random_.choice([0, 1, 0x3F, 0x7F, 0x80, 0xC0, 0xC3, 0xF0, 0xFE, 0xFF])
    elif kind == "splice":
        start = random_.randrange(9, len(body))
        body[at:at] = body[start:start + random_.randrange(1, 20)]
    elif kind == "delete":
        del body[at:at + random_.randrange(1, 10)]
    elif kind == "cut":
        return kind, bytes(data[:at])
    else:
        return kind, bytes(data[:-1]) + bytes([data[-1] ^ 1])
    return kind, bytes(body) + crc64(body).to_bytes(8, "little")


def ours(paths):
    binary = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "examples" / "verify"
    out = subprocess.run([str(binary), *map(str, paths)], check=True, capture_output=True, text=True)
    return [json.loads(line) for line in out.stdout.splitlines()]


def theirs(checker, path):
    done = subprocess.run([*checker, str(path)], capture_output=True, timeout=60)
    text = done.stdout.decode(errors="replace")
    last = [line for line in text.splitlines() if line.startswith(("[", "---"))]
    reason = next((line.split("]", 1)[1].strip() for line in last if "offset" in line and "RDB" not in line and "AUX" not in line), "")
    return done.returncode == 0, reason or text[-200:]


def payloads(table):
    """Each corrupt DUMP payload to each server with every check on and checksums ignored: who accepts what?"""
    rows = [line.rstrip("\n").split("\t") for line in open(table)][1:]
    accepted = collections.defaultdict(list)
    for name in SERVERS:
        debug = [] if name == "redis-6.2.5" else ["--enable-debug-command", "local"]
        with tempfile.TemporaryDirectory() as directory:
            answers = collections.Counter()
            start = lambda: Server(name, directory, "--sanitize-dump-payload", "yes", *debug)
            server = start()
            for _, payload, dump in rows:
                try:
                    server.command("DEBUG", "SET-SKIP-CHECKSUM-VALIDATION", "1")
                    server.command("FLUSHALL")
                    server.command("RESTORE", "k", 0, bytes.fromhex(dump))
                    accepted[payload].append(name)
                    answers["accepted"] += 1
                except RuntimeError as error:
                    answers["not its version" if "version" in str(error) else "refused"] += 1
                except (OSError, ValueError):
                    answers["crashed"] += 1
                    server.stop()
                    server = start()
            server.stop()
            print(f"{name}: {dict(answers)}")
    for payload, names in accepted.items():
        print(f"  accepted by {', '.join(names)}: {payload}")


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--files", type=int, default=1000)
    arguments.add_argument("--server", choices=list(SERVERS), action="append")
    arguments.add_argument("--keep", type=Path, help="keep files of disagreement here")
    arguments.add_argument("--payloads", type=Path, metavar="TSV", help="load these corrupt DUMP payloads instead")
    options = arguments.parse_args()
    if options.payloads:
        return payloads(options.payloads)
    HOME.mkdir(parents=True, exist_ok=True)
    checkers = peers()
    for name in options.server or SERVERS:
        kind_of_server, version = name.split("-")
        checker = checkers[f"{kind_of_server}-check-rdb {version}"]
        random_ = random.Random(11)
        with tempfile.TemporaryDirectory() as directory:
            server = Server(name, directory)
            server.command("EVAL", SEED, "0", 1, 60)
            server.command("SAVE")
            server.stop()
            seed = (Path(directory) / "dump.rdb").read_bytes()
            files = []
            for i in range(options.files):
                kind, data = mutate(seed, random_)
                path = Path(directory) / f"{i}-{kind}.rdb"
                path.write_bytes(data)
                files.append(path)
            counts, examples = collections.Counter(), {}
            for path, report in zip(files, ours(files)):
                ok, reason = theirs(checker, path)
                kinds = ",".join(sorted({p["kind"] for p in report["problems"]})) or "-"
                if ok == report["ok"]:
                    counts["agree: sound" if ok else "agree: damaged"] += 1
                    continue
                which = f"only unfrag objects: {kinds}" if ok else f"only {checker[0].rsplit('/', 1)[1]} objects: {reason[:60]}"
                counts[which] += 1
                examples.setdefault(which, path.name)
                if options.keep:
                    options.keep.mkdir(parents=True, exist_ok=True)
                    (options.keep / f"{name}-{path.name}").write_bytes(path.read_bytes())
            print(f"\n{name}: {options.files} files changed from one of {len(seed)} bytes")
            for which, count in counts.most_common():
                print(f"  {count:6}  {which}  {examples.get(which, '')}")


if __name__ == "__main__":
    sys.exit(main())
