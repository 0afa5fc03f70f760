"""A systemd of its own: real, the first process of namespaces of its own, on a copy of this machine that vanishes.

`Box()` starts it (root, cgroup 2, overlayfs), `run` and `check` run commands in it, `end` ends all that is in it. The files of
this machine are seen and cannot be changed: what is written lands in memory. The network is its own loopback. Units are only
those that are laid out here, so that nothing of this machine is started a second time.

`Unable` is raised, with what was refused, where this cannot be.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UNITS = "/run/box-units"
SYSTEMD = "/lib/systemd/systemd"
# Real units of systemd's own; targets without what belongs to a machine.
OWN_UNITS = ["systemd-journald.service", "systemd-journald.socket", "systemd-journald-dev-log.socket",
             "shutdown.target", "umount.target", "final.target", "exit.target", "systemd-exit.service",
             "network-online.target", "network.target", "multi-user.target", "slices.target", "paths.target",
             "timers.target", "sockets.target", "local-fs.target"]
TARGETS = {
    "sysinit.target": "[Unit]\nDescription=Nothing\n",
    "basic.target": "[Unit]\nDescription=Basic\nRequires=sysinit.target\nAfter=sysinit.target\n",
    "box.target": "[Unit]\nDescription=Box\nRequires=basic.target\nAfter=basic.target\nWants=systemd-journald.socket "
                  "systemd-journald-dev-log.socket systemd-journald.service\n",
}
UP_WITHIN_S = 60


class Unable(Exception):
    """This machine cannot have one; the text says what was refused."""


def become_init(base):
    """Runs as the first process of the new namespaces: lays out the copy, and becomes systemd."""
    def mount(*words):
        done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"mount {' '.join(words)}: {done.stderr.strip()}")

    base = Path(base)
    mount("--make-rprivate", "/")
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", str(base))
    for name in ("up", "work", "root"):
        (base / name).mkdir()
    root = base / "root"
    mount("-t", "overlay", "overlay", "-o", f"lowerdir=/,upperdir={base}/up,workdir={base}/work", str(root))
    if not (root / ROOT.relative_to("/") / "scripts").exists():
        (root / ROOT.relative_to("/")).mkdir(parents=True, exist_ok=True)
        mount("--bind", str(ROOT), str(root / ROOT.relative_to("/")))
    mount("-t", "proc", "proc", str(root / "proc"))
    # Settings of the kernel are the machine's.
    mount("--bind", str(root / "proc/sys"), str(root / "proc/sys"))
    mount("-o", "remount,bind,ro", str(root / "proc/sys"))
    mount("-t", "sysfs", "-o", "ro", "sysfs", str(root / "sys"))
    mount("--rbind", "/dev", str(root / "dev"))
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", str(root / "run"))
    mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", str(root / "tmp"))
    mount("-t", "cgroup2", "cgroup2", str(root / "sys/fs/cgroup"))
    units = root / UNITS[1:]
    units.mkdir()
    for name, text in TARGETS.items():
        (units / name).write_text(text)
    for name in OWN_UNITS:
        found = Path("/lib/systemd/system") / name
        if found.exists():
            shutil.copy(found, units / name)
    (root / "run/old").mkdir()
    os.chdir(root)
    done = subprocess.run(["pivot_root", ".", "run/old"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"pivot_root: {done.stderr.strip()}")
    mount("--make-rprivate", "/run/old")
    subprocess.run(["umount", "-l", "/run/old"], check=True)
    os.chdir("/")
    # As a container's manager leaves it: credentials of units are mounted from elsewhere.
    mount("--make-rshared", "/")
    environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "container": "box",
                   "SYSTEMD_UNIT_PATH": UNITS}
    # It is told to be quiet on the console; what it says is in the journal.
    os.execve(SYSTEMD, [SYSTEMD, "--system", "--unit=box.target", "--log-target=journal-or-kmsg", "--show-status=0"],
              environment)


class Box:
    def __init__(self):
        if os.geteuid() != 0:
            raise Unable("it takes root (namespaces, mounts)")
        for program in ("unshare", "nsenter", "pivot_root"):
            if not shutil.which(program):
                raise Unable(f"{program} is not installed")
        if not Path(SYSTEMD).exists():
            raise Unable(f"{SYSTEMD} is not there")
        self.group = own_group(f"unfrag-box-{os.getpid()}")
        self.base = tempfile.mkdtemp(prefix="unfrag-box-")
        self.said = open(Path(self.base).with_suffix(".log"), "w+")
        # In a group of its own first: that is the root of what it sees.
        enter = 'echo $$ > "$0/cgroup.procs" && exec "$@"'
        self.outer = subprocess.Popen(
            ["sh", "-c", enter, str(self.group), "unshare", "--mount", "--pid", "--ipc", "--uts", "--net", "--cgroup",
             "--fork", "--kill-child", sys.executable, __file__, self.base],
            stdin=subprocess.DEVNULL, stdout=self.said, stderr=self.said)
        try:
            self.wait_until_up()
        except BaseException:
            self.end()
            raise

    def wait_until_up(self):
        deadline = time.monotonic() + UP_WITHIN_S
        while True:
            if self.outer.poll() is not None:
                self.said.seek(0)
                raise Unable(self.said.read().strip() or f"unshare ended with {self.outer.returncode}")
            self.pid = first_child(self.outer.pid)
            if self.pid and Path(f"/proc/{self.pid}/comm").read_text().strip() == "systemd":
                done = self.run("systemctl", "is-system-running")
                if done.stdout.strip() in ("running", "degraded"):
                    return
            if time.monotonic() > deadline:
                raise Unable(f"systemd is not up after {UP_WITHIN_S} s")
            time.sleep(0.05)

    def words(self, *words):
        return ["nsenter", "--target", str(self.pid), "--mount", "--pid", "--ipc", "--uts", "--net", "--cgroup",
                "--", *map(str, words)]

    def run(self, *words, **more):
        """What came of a command in it."""
        return subprocess.run(self.words(*words), capture_output=True, text=True, check=False, **more)

    def end(self):
        """All that is in it ends with its first process."""
        pid = getattr(self, "pid", None)
        if pid:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.outer.kill()
        self.outer.wait()
        self.said.close()
        Path(self.said.name).unlink(missing_ok=True)
        shutil.rmtree(self.base, ignore_errors=True)
        remove_group(self.group)


def own_group(name):
    """A control group (version 2) below the one that we are in."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    tops = [words[1] for words in mounts if words[2] == "cgroup2"]
    if not tops:
        raise Unable("no cgroup2 is mounted")
    ours = [line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::")]
    group = Path(tops[0] + (ours[0] if ours else "").rstrip("/")) / name
    try:
        group.mkdir()
    except OSError as error:
        raise Unable(f"no control group of its own: {error}") from error
    return group


def remove_group(group):
    """As soon as the kernel has let go of what was in it."""
    deadline = time.monotonic() + UP_WITHIN_S
    while group.exists() and time.monotonic() < deadline:
        for folder, _, _ in os.walk(group, topdown=False):
            try:
                os.rmdir(folder)
            except OSError:
                time.sleep(0.02)


def first_child(pid):
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return None
    return int(children[0]) if children else None


if __name__ == "__main__":
    become_init(sys.argv[1])
