#!/usr/bin/env python3
"""Brings supervisord 4.3.0 into target/supervisord/ on first use, and prints where its commands are.

Exit code 77: it cannot be had here (the reason is printed). Two runs at once are one run.
Usage: supervisord.py
"""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from servers import pip  # noqa: E402

FOLDER = Path(__file__).resolve().parent.parent / "target" / "supervisord"
PACKAGE = "supervisor==4.3.0"
SCRIPT = """#!{python}
import pathlib
import sys
# Beside this folder, wherever the checkout has been moved to.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "lib"))
from supervisor.{name} import main
main()
"""


def skip(why):
    print(f"supervisord cannot be had: {why}")
    sys.exit(77)


def bring():
    staged = FOLDER.with_name("supervisord.new")
    shutil.rmtree(staged, ignore_errors=True)
    command = [*pip(), "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:", "--no-deps",
               "--target", str(staged / "lib"), PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode != 0:
        skip(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "pip failed")
    (staged / "bin").mkdir()
    for name in ("supervisord", "supervisorctl"):
        # A script of that name, as a package installs it: its process is called after it.
        path = staged / "bin" / name
        path.write_text(SCRIPT.format(python=sys.executable, name=name))
        path.chmod(0o755)
    shutil.rmtree(FOLDER, ignore_errors=True)
    os.replace(staged, FOLDER)


def version():
    """Runs what is there; None where nothing is."""
    path = FOLDER / "bin" / "supervisord"
    return subprocess.run([path, "--version"], capture_output=True, text=True, check=False) if path.exists() else None


def main():
    FOLDER.parent.mkdir(exist_ok=True)
    with open(FOLDER.with_name(".supervisord.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            said = version()
            # What does not run (cut short, or of a Python that is gone) is brought anew.
            if said is None or said.returncode != 0:
                bring()
                said = version()
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            skip(str(error))
    if said.returncode != 0:
        skip(said.stderr.strip().splitlines()[-1])
    print(FOLDER / "bin")


main()
