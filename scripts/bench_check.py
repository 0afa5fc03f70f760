#!/usr/bin/env python3
"""Times `unfrag check` on one real server and on a hundred, beside what redis-cli takes for the same reading.

Usage: bench_check.py PATH_TO_UNFRAG [SERVERS]
Starts its own servers on loopback, and stops exactly those.
"""

import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SERVER = ROOT / "target/servers/redis-8.2.3/redis-server"
CLI = ROOT / "target/servers/redis-6.2.5/redis-cli"
READINGS = ["INFO everything", "MEMORY STATS", "MEMORY MALLOC-STATS", "CONFIG GET *", "CLIENT LIST", "LATENCY LATEST"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(folder):
    port = free_port()
    log = open(Path(folder) / f"{port}.log", "w")
    process = subprocess.Popen(
        [SERVER, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder],
        stdout=log, stderr=log, stdin=subprocess.DEVNULL,
    )
    return port, process


def wait_up(port):
    for _ in range(2000):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.005)
    sys.exit(f"the server on port {port} did not come up")


def timed(command, runs):
    """Median wall seconds and the largest resident set in KiB of a command."""
    walls, rss = [], 0
    for _ in range(runs + 1):
        begin = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        walls.append(time.perf_counter() - begin)
        rss = max(rss, usage.ru_maxrss)
        if status:
            sys.exit(f"{command} failed")
    walls = sorted(walls[1:])
    return walls[len(walls) // 2], rss


def main():
    unfrag = sys.argv[1]
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 100
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    with tempfile.TemporaryDirectory(prefix="unfrag-bench-") as folder:
        servers = [start(folder) for _ in range(count)]
        try:
            for port, _ in servers:
                wait_up(port)
            ports = [port for port, _ in servers]
            one, rss = timed([unfrag, "check", "-p", str(ports[0]), "-o", "json"], 15)
            peer, _ = timed(["sh", "-c", "; ".join(f"{CLI} -p {ports[0]} {r}" for r in READINGS)], 15)
            many, rss_many = timed([unfrag, "check", "-o", "json", *(f"127.0.0.1:{p}" for p in ports)], 5)
            print(f"one local server:  {one * 1000:.0f} ms wall, {rss / 1024:.1f} MiB RSS; "
                  f"redis-cli, the same six readings one by one: {peer * 1000:.0f} ms; ratio {one / peer:.2f}")
            print(f"{count} servers at once: {many:.2f} s wall, {rss_many / 1024:.1f} MiB RSS; "
                  f"{many / count * 1000:.1f} ms each, ratio to one alone {many / count / one:.2f}")
        finally:
            for _, process in servers:
                process.terminate()
            for _, process in servers:
                process.wait(timeout=30)


if __name__ == "__main__":
    main()
