#!/usr/bin/env python3
"""`unfrag restart` of servers in real containers, of podman or docker, in a box (systemd_box.py).

Usage: test_containers.py UNFRAG SERVERS podman|docker [WORDS]     only the trials whose names have all WORDS

The engine is the installed one, or Debian's: its packages are downloaded once, and unpacked in the box alone. The images are
made here: the server and its libraries. Each server calls itself process 1, and stands beside another one that does; some are
reached through a port that is forwarded from elsewhere, as a published one is. The final save takes longer than the container's
stop timeout. It fails on a lost write and on a container that is not found by itself.
"""

import ctypes
import shutil
import socket
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import real_trials as trials  # noqa: E402
from bench_restart import Client  # noqa: E402
from real_trials import KEYS, PORT, answers, in_a_line, must, told, wait  # noqa: E402

NAME = "cache"
# Server, arguments of `run`, arguments of the server, and whether its port is forwarded.
SHAPES = {
    "host network": ("redis-8.2.3", ["--network=host", "--stop-timeout=1"], ["--save", "3600 1"], False),
    "forwarded": ("valkey-9.1.2", ["--network=none", "--stop-timeout=1"], ["--save", "3600 1"], True),
    "always": ("valkey-8.1.8", ["--network=host", "--restart=always"], ["--save", "3600 1"], False),
    "AOF, no volume": ("redis-7.0.15", ["--network=none", "--stop-timeout=1"], ["--appendonly", "yes"], True),
}
PACKAGES = {"podman": ["podman", "runc"], "docker": ["docker.io"]}
WORDS = ["--mode", "plain", "--allow"]
DEBS = Path(__file__).resolve().parent.parent / "target" / "engines"
CLONE_NEWNET = 0x40000000


class Unfit(Exception):
    """The engine runs no container here; the text says why not."""


def download(engine):
    """Outside, where there is a network: what is not installed is laid beside the servers."""
    needed = {"podman": ["podman", "runc"], "docker": ["dockerd", "docker", "containerd", "runc"]}[engine]
    if all(shutil.which(program) for program in needed):
        return
    folder = DEBS / engine
    (folder / "partial").mkdir(parents=True, exist_ok=True)
    command = ["apt-get", "install", "--yes", "--no-install-recommends", "--download-only", "-o",
               f"Dir::Cache::archives={folder}", *PACKAGES[engine]]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    except OSError as error:
        raise Unfit(f"{engine} is not installed and cannot be had: {error}") from error
    if done.returncode != 0:
        raise Unfit(f"{engine} is not installed and cannot be had: {done.stderr.strip()}")


class Engine:
    """podman, or docker with a daemon of its own; ready to run containers."""

    def __init__(self, name, servers):
        self.name, self.servers = name, servers
        for package in sorted((DEBS / name).glob("*.deb")):
            # `dpkg --extract` would put a folder in the place of the link that /lib is.
            told("sh", "-c", 'dpkg --fsys-tarfile "$0" | tar -C / -x --keep-directory-symlink', package)
        told("ldconfig")
        self.made = set()
        said = {}
        for what, prepare in {"podman": self.podmen, "docker": self.dockers}[name]().items():
            prepare()
            done = self.run("run", "--rm", "--network=none", self.image("redis-8.2.3"), "/usr/bin/redis-server", "--version")
            if done.returncode == 0:
                self.what = what
                return
            said[what] = done.stderr.strip()
        raise Unfit("; ".join(f"{what}: {why}" for what, why in said.items()) or "it has no runtime")

    def podmen(self):
        """Which of the runtimes gets on with this kernel and these rights differs."""
        Path("/etc/containers").mkdir(exist_ok=True)
        Path("/etc/containers/storage.conf").write_text(
            '[storage]\ndriver="vfs"\ngraphroot="/var/lib/containers/box"\nrunroot="/run/containers/box"\n')

        def prepare(runtime):
            # Limits of processes and of memory that is locked may be another's to set.
            Path("/etc/containers/containers.conf").write_text(
                f'[engine]\ncgroup_manager="cgroupfs"\nevents_logger="file"\nruntime="{runtime}"\n'
                '[containers]\npids_limit=0\ndefault_ulimits=["nofile=1024:1024", "nproc=1024:1024"]\n')
        return {runtime: partial(prepare, runtime) for runtime in ("crun", "runc") if shutil.which(runtime)}

    def dockers(self):
        def prepare():
            with open("/run/dockerd.log", "w", encoding="utf-8") as log:
                daemon = subprocess.Popen(
                    ["dockerd", "--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false",
                     "--ip-masq=false", "--storage-driver=vfs", "--exec-opt=native.cgroupdriver=cgroupfs"],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            wait("dockerd", lambda: daemon.poll() is not None or self.run("version").returncode == 0)
            if daemon.poll() is not None:
                raise Unfit(Path("/run/dockerd.log").read_text().strip().splitlines()[-1])
        return {"dockerd": prepare}

    def run(self, *words):
        return subprocess.run([self.name, *map(str, words)], capture_output=True, text=True, check=False)

    def told(self, *words, fine=(0,)):
        return told(self.name, *words, fine=fine).stdout.strip()

    def shown(self, what, name=NAME):
        return self.told("inspect", "--type", "container", "--format", what, name)

    def image(self, server):
        """A root with the server, its libraries, and nothing else."""
        binary, root, name = (self.servers / server / program(server)).resolve(), Path("/run/images") / server, f"trial/{server}"
        if server in self.made:
            return name
        for folder in ("usr/bin", "data", "tmp", "etc"):
            (root / folder).mkdir(parents=True)
        shutil.copy(binary, root / "usr/bin" / program(server))
        for word in told("ldd", binary, fine=(0, 1)).stdout.split():
            if word.startswith("/"):
                (root / word[1:]).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(word, root / word[1:])
        packed = root.with_name(f"{server}.tar")
        told("tar", "-C", root, "-cf", packed, ".")
        self.told("import", packed, name)
        self.made.add(server)
        return name


def program(server):
    return "valkey-server" if server.startswith("valkey") else "redis-server"


class Forward(threading.Thread):
    """A port here that leads to the same one in the container, as a published one does: the server sees another client."""

    def __init__(self, engine):
        self.engine, self.pid, self.asking = engine, "0", threading.Lock()
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", PORT), backlog=64)
        self.start()

    def run(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.carry, args=(client,), daemon=True).start()

    def carry(self, client):
        try:
            server = self.reach()
        except (OSError, trials.Failed):
            client.close()
            return
        for one, other in ((client, server), (server, client)):
            threading.Thread(target=pump, args=(one, other), daemon=True).start()

    def reach(self):
        """A socket that was made in the container's network stays there; only this thread goes there."""
        if not Path(f"/proc/{self.pid}").exists() and self.asking.acquire(blocking=False):
            try:
                self.pid = self.engine.shown("{{.State.Pid}}")
                # The engine is to start it, and not to be asked all the time.
                time.sleep(0.1)
            finally:
                self.asking.release()
        with open(f"/proc/{self.pid}/ns/net", "rb") as net:
            if ctypes.CDLL(None, use_errno=True).setns(net.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        return socket.create_connection(("127.0.0.1", PORT))

    def end(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def pump(one, other):
    try:
        while data := one.recv(65536):
            other.sendall(data)
    except OSError:
        pass
    for each in (one, other):
        try:
            each.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


class Container:
    """The server in one, and a neighbour that is like it."""

    def __init__(self, engine, shape, *more):
        self.engine = engine
        server, arguments, words, is_forwarded = SHAPES[shape]
        run = [engine.image(server), f"/usr/bin/{program(server)}", "--dir", "/data", "--port", PORT,
               "--enable-debug-command", "local", *words]
        volume = [] if "no volume" in shape else ["--volume", "/run/data:/data"]
        shutil.rmtree("/run/data", ignore_errors=True)
        Path("/run/data").mkdir()
        Path("/run/data").chmod(0o777)
        engine.told("run", "--detach", "--name", "neighbour", "--network=none", *run)
        engine.told("run", "--detach", "--name", NAME, *volume, *arguments, *more, *run)
        self.forward = Forward(engine) if is_forwarded else None
        wait("the server", answers)
        trials.fill()

    def holds(self):
        must(self.engine.shown("{{.State.Running}}") == "true", "the container does not run")
        must(trials.keys() == KEYS + 20, f"{trials.keys()} keys")
        must(self.engine.shown("{{.State.Running}}", "neighbour") == "true", "the neighbour was stopped")

    def end(self):
        if self.forward:
            self.forward.end()
        at_once = ["--time=1"] if self.engine.name == "podman" else []
        # One that is starting by itself may not be stopped at that moment.
        wait("the end", lambda: self.engine.run("rm", "--force", *at_once, NAME, "neighbour").returncode == 0)


def with_container(what):
    def run(unfrag, engine, shape, more, *arguments):
        container = Container(engine, shape, *more)
        try:
            return what(unfrag, container, *arguments)
        finally:
            container.end()
    return run


@with_container
def restart(unfrag, container):
    swap = told(unfrag, "restart", "-p", PORT, "--mode", "swap", "--yes", fine=(6,))
    must("container" in in_a_line(swap), in_a_line(swap))
    dry = in_a_line(told(unfrag, "restart", "-p", PORT, *WORDS, "--dry-run"))
    must(f"{container.engine.name} start {container.engine.shown('{{.Id}}')[:12]}" in dry, dry)
    trials.slow_save()
    said = trials.restarted(unfrag, *WORDS)
    container.holds()
    return said


@with_container
def killed(unfrag, container, step):
    said = trials.killed_and_undone(unfrag, step, 1, *WORDS)
    container.holds()
    return said


@with_container
def would_be_gone(unfrag, _container):
    refused = in_a_line(told(unfrag, "restart", "-p", PORT, *WORDS, "--yes", fine=(6,)))
    must("--rm" in refused, refused)
    return "refused"


def inside(unfrag, servers, wanted):
    name, *wanted = wanted
    try:
        engine = Engine(name, servers)
    except Unfit as why:
        print(f"skipped: {name} runs no container here: {why}")
        return 0
    print(engine.told("--version"), engine.what)
    all_of_them = []
    for shape, step in zip(SHAPES, ("stop", "start", "stop", "load"), strict=True):
        title = f"{SHAPES[shape][0]:<13}{shape:<16}"
        all_of_them += [(f"{title}plain", partial(restart, unfrag, engine, shape, [])),
                        (f"{title}plain, killed at {step}", partial(killed, unfrag, engine, shape, [], step))]
    all_of_them.append(("--rm", partial(would_be_gone, unfrag, engine, "host network", ["--rm"])))
    return trials.rows(all_of_them, wanted, lambda: engine.run("logs", "--tail=20", NAME).stdout)


if __name__ == "__main__":
    if sys.argv[1] != "--inside":
        try:
            download(sys.argv[3])
        except Unfit as why:
            print(f"skipped: {why}")
            sys.exit(0)
    trials.main(__file__, inside)
