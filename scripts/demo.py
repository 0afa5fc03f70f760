#!/usr/bin/env python3
"""The demo: a really fragmented server comes up; unfrag says where its memory went and gives it back.

Usage: demo.py PATH_TO_UNFRAG
"""

import os
import signal
import subprocess
import sys


def main():
    unfrag = sys.argv[1]
    lab = subprocess.Popen([unfrag, "lab", "--server", "redis-8.2.3", "--workload", "strings"], stdout=subprocess.PIPE, text=True)
    try:
        ready = lab.stdout.readline()
        if not ready.startswith("ready: "):
            sys.exit("the lab did not start; `make servers` says what is missing")
        print(ready + "".join(lab.stdout.readline() for _ in range(2)))
        port = ready.split()[1].rstrip(",").rsplit(":", 1)[1]
        for step in (["check", "-p", port], ["fix", "-p", port, "--yes"], ["check", "-p", port]):
            print(f"$ unfrag {' '.join(step)}\n", flush=True)
            subprocess.run([unfrag, *step], check=True)
            print(flush=True)
    finally:
        if lab.poll() is None:
            os.kill(lab.pid, signal.SIGINT)
        lab.wait(timeout=60)


if __name__ == "__main__":
    main()
