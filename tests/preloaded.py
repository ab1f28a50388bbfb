"""Runs Python programs as `python -B program` would, in forks of one process that has imported their libraries already.

For tests that run the same program dozens of times. What the libraries read from the environment when they are imported
is that of `settings`; everything else is each program's own.
"""

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


class Preloaded:
    """The process; `run` is like subprocess.run with captured text."""

    def __init__(self, folder: Path, settings: dict[str, str], libraries: Sequence[str]) -> None:
        self.folder = folder
        command = [sys.executable, "-B", __file__, *libraries]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=settings, text=True)

    def run(self, command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess:
        out, errors = self.folder / "stdout", self.folder / "stderr"
        wanted = {"command": command, "environment": environment, "out": str(out), "errors": str(errors)}
        self.process.stdin.write(json.dumps(wanted) + "\n")
        self.process.stdin.flush()
        status = int(self.process.stdout.readline())
        return subprocess.CompletedProcess(command, status, out.read_text("utf-8"), errors.read_text("utf-8"))

    def close(self) -> None:
        with self.process:  # closes its standard input, which ends it, and waits
            pass


def serve() -> None:
    for library in sys.argv[1:]:
        __import__(library)
    while line := sys.stdin.readline():
        wanted = json.loads(line)
        child = os.fork()
        if not child:
            return become(**wanted)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def become(command: list[str], environment: dict[str, str], out: str, errors: str) -> None:
    """The program in this process, as if Python had been started with it; how it ends is how the process ends."""
    for path, descriptor in ((os.devnull, 0), (out, 1), (errors, 2)):
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv, sys.path[0] = command, str(Path(command[0]).parent)
    runpy.run_path(command[0], run_name="__main__")


if __name__ == "__main__":
    serve()
