#!/usr/bin/env python3
"""make bench-watch: `unfrag watch` over a thousand targets, beside prometheus-redis-exporter in the same run.

Real servers where memory allows; for the rest a stand-in that answers with the bytes of a real one (crates/watch/examples/
standin.rs). Then a day of history is generated, and the page is asked for it. Prints what was measured; judges nothing.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

UNFRAG, EXAMPLES, SERVERS = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
TARGETS = int(os.environ.get("TARGETS", "1000"))
REAL = int(os.environ.get("REAL", "40"))
SECONDS = int(os.environ.get("SECONDS_WATCHED", "120"))
REAL_PORT, FIRST_PORT, LISTEN, EXPORTER = 21000, 22000, 29122, 29121
TICK = os.sysconf("SC_CLK_TCK")
started = []


def spawn(command, **more):
    child = subprocess.Popen([str(c) for c in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **more)
    started.append(child)
    return child


def cpu_s(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def rss_mb(pid, field="VmRSS"):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    return 0.0


def get(url):
    begun = time.monotonic()
    with urllib.request.urlopen(url, timeout=60) as answer:
        body = answer.read()
    return time.monotonic() - begun, body


def until(what, seconds, found):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if found():
                return
        except OSError:
            pass
        time.sleep(0.5)
    sys.exit(f"waited in vain for {what}")


def median(values):
    return sorted(values)[len(values) // 2]


def server_binary():
    for name in ("redis-8.2.3", "redis-7.0.15", "redis-6.2.5"):
        path = SERVERS / name / "redis-server"
        if path.exists():
            return name, path
    sys.exit("no real server: run `make servers`")


def watch(folder, fleet, *more):
    child = spawn([UNFRAG, "watch", "--fleet", fleet, "--listen", f"127.0.0.1:{LISTEN}", "--data", folder, "--log-level", "error", *more])
    until("the watch", 30, lambda: get(f"http://127.0.0.1:{LISTEN}/-/ready"))
    return child


def looked_at():
    text = get(f"http://127.0.0.1:{LISTEN}/metrics")[1].decode()
    return sum(line.startswith("unfrag_up{") and line.endswith(" 1") for line in text.splitlines()) >= TARGETS


def busy(child):
    """The share of a core that it takes, once it has settled."""
    until("every target", 120, looked_at)
    time.sleep(30)
    before, begun = cpu_s(child.pid), time.monotonic()
    time.sleep(SECONDS)
    return (cpu_s(child.pid) - before) / (time.monotonic() - begun)


class Sink(BaseHTTPRequestHandler):
    """A store that takes everything and keeps nothing."""

    protocol_version = "HTTP/1.1"
    sizes = []

    def do_POST(self):
        length = int(self.headers["Content-Length"])
        self.rfile.read(length)
        Sink.sizes.append(length)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def written_to(folder, fleet, alone):
    """The same watch, which sends its figures away as well."""
    sink = ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    Thread(target=sink.serve_forever, daemon=True).start()
    config = folder / "watch.toml"
    config.write_text(f'[remote_write]\nurl = "http://127.0.0.1:{sink.server_port}/write"\n')
    child = watch(folder / "written", fleet, "--config", config)
    share = busy(child)
    page = get(f"http://127.0.0.1:{LISTEN}/metrics")[1].decode()
    of = lambda name: float(next(line for line in page.splitlines() if line.startswith(name)).rsplit(" ", 1)[1])
    rounds, sent = of("unfrag_watch_remote_write_rounds_total"), of('unfrag_watch_remote_write_samples_total{result="sent"}')
    print(
        f"with remote-write every 15 s: {share * 100:.1f} % of a core ({(share - alone) * 100:+.1f}), RSS {rss_mb(child.pid):.0f} MB, highest "
        f"{rss_mb(child.pid, 'VmHWM'):.0f} MB; a round is {sent / rounds:.0f} samples, {sum(Sink.sizes) / rounds / 1e6:.2f} MB in {len(Sink.sizes) / rounds:.0f} requests"
    )
    child.terminate()
    child.wait()
    sink.shutdown()


def main():
    resource = __import__("resource")
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    name, binary = server_binary()
    ports = [REAL_PORT + n for n in range(REAL)]
    for port in ports:
        spawn([binary, "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", folder])
    until("the real servers", 30, lambda: __import__("socket").create_connection(("127.0.0.1", ports[-1]), 1))
    if TARGETS > REAL:
        spawn([EXAMPLES / "standin", f"127.0.0.1:{REAL_PORT}", FIRST_PORT, TARGETS - REAL])
        ports += [FIRST_PORT + n for n in range(TARGETS - REAL)]
        time.sleep(1)
    fleet = folder / "fleet.toml"
    fleet.write_text("".join(f'[[target]]\nuri = "redis://127.0.0.1:{port}"\n' for port in ports))
    print(f"{TARGETS} targets: {REAL} real {name}, {TARGETS - REAL} of the stand-in; {os.cpu_count()} cores")

    child = watch(folder / "data", fleet)
    share = busy(child)
    looks = TARGETS / 10
    print(f"unfrag watch: {share * 100:.1f} % of a core over {SECONDS} s ({share / looks * 1000:.2f} ms a target and look), RSS {rss_mb(child.pid):.0f} MB", flush=True)
    scrapes = [get(f"http://127.0.0.1:{LISTEN}/metrics") for _ in range(10)]
    times = [s[0] * 1000 for s in scrapes]
    print(f"/metrics for all: median {median(times):.0f} ms, worst {max(times):.0f} ms, {len(scrapes[0][1]) / 1e6:.1f} MB, RSS after {rss_mb(child.pid):.0f} MB, highest {rss_mb(child.pid, 'VmHWM'):.0f} MB")
    times = [get(f"http://127.0.0.1:{LISTEN}/api/v1/overview")[0] * 1000 for _ in range(10)]
    print(f"the page's overview: median {median(times):.0f} ms, worst {max(times):.0f} ms")
    begun = time.monotonic()
    child.terminate()
    child.wait()
    print(f"ends in {time.monotonic() - begun:.2f} s")
    written_to(folder, fleet, share)

    exporter = shutil.which("prometheus-redis-exporter")
    if exporter:
        other = spawn([exporter, "-redis.addr=", f"-web.listen-address=127.0.0.1:{EXPORTER}"])
        until("the exporter", 20, lambda: get(f"http://127.0.0.1:{EXPORTER}/metrics"))
        before, begun, size = cpu_s(other.pid), time.monotonic(), 0
        for port in ports:
            size += len(get(f"http://127.0.0.1:{EXPORTER}/scrape?target=redis://127.0.0.1:{port}")[1])
        took, spent = time.monotonic() - begun, cpu_s(other.pid) - before
        with ThreadPoolExecutor(50) as pool:
            scrape = lambda port: get(f"http://127.0.0.1:{EXPORTER}/scrape?target=redis://127.0.0.1:{port}")[0]
            at_once = []
            for first in range(0, min(500, len(ports)), 50):
                begun = time.monotonic()
                list(pool.map(scrape, ports[first : first + 50]))
                at_once.append((time.monotonic() - begun) * 1000)
        print(f"prometheus-redis-exporter: {spent / len(ports) * 1000:.2f} ms of processor a target and scrape ({spent / 10 * 100:.0f} % of a core at 10 s), all one after the other {took * 1000:.0f} ms, 50 at once {median(at_once):.0f} ms, {size / 1e6:.1f} MB, RSS {rss_mb(other.pid):.0f} MB")
        other.terminate()
        other.wait()
    else:
        print("prometheus-redis-exporter is not installed here (Debian's package): nothing beside it")

    if os.environ.get("DAY") == "0":
        return
    day = folder / "day"
    day.mkdir()
    said = subprocess.run([str(EXAMPLES / "generate"), str(day), str(REAL_PORT), str(REAL)], check=True, capture_output=True, text=True)
    if TARGETS > REAL:
        said = subprocess.run([str(EXAMPLES / "generate"), str(day), str(FIRST_PORT), str(TARGETS - REAL)], check=True, capture_output=True, text=True)
    size = sum(f.stat().st_size for f in day.iterdir())
    print(f"a day of history: {said.stdout.strip()}; {size / 1e6:.0f} MB on disk, {size / TARGETS / 1e3:.0f} kB a server")
    child = watch(day, fleet)
    until("every target", 120, looked_at)
    times = [get(f"http://127.0.0.1:{LISTEN}/api/v1/overview")[0] * 1000 for _ in range(10)]
    print(f"overview with that day: median {median(times):.0f} ms, worst {max(times):.0f} ms, RSS {rss_mb(child.pid):.0f} MB")
    key = json.loads(get(f"http://127.0.0.1:{LISTEN}/api/v1/overview")[1])["servers"][-1]["id"]
    for hours in (1, 24):
        span = f"from={int(time.time()) - hours * 3600}"
        times = [get(f"http://127.0.0.1:{LISTEN}/api/v1/targets/{key}/history?{span}")[0] * 1000 for _ in range(10)]
        print(f"a server's chart over {hours} h: median {median(times):.0f} ms")


folder = Path(tempfile.mkdtemp(prefix="unfrag-bench-"))
try:
    main()
finally:
    for child in started:
        if child.poll() is None:
            child.terminate()
    for child in started:
        child.wait()
    shutil.rmtree(folder, ignore_errors=True)
