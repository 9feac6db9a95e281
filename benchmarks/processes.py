"""Processes that are measured: started, asked what they took from the machine, ended."""

import http.client
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Process:
    """A running server: its process with all that it has started, and its port on loopback."""

    pid: int
    port: int
    startup: float  # seconds from being started to answering GET with 200

    def tree(self) -> list[int]:
        """Return the ids of the process and of all its descendants."""
        found = [self.pid]
        for pid in found:
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                found += map(int, children.read_text().split())
        return found

    def cpu(self) -> float:
        """Return the processor seconds that all threads of the tree have used so far."""
        return sum(map(_ticks, self.tree())) / _TICKS

    def memory(self) -> float:
        """Return the most memory in MB that the tree has held (peaks of the resident sets)."""
        return sum(map(peak, self.tree())) / 1024


def _ticks(pid: int) -> int:
    stat = Path(f"/proc/{pid}/stat").read_text()
    # The name in brackets, the second field, may hold anything. Children that have ended count.
    return sum(map(int, stat.rpartition(")")[2].split()[11:15]))


def peak(pid: int) -> int:
    """Return the most memory in KB that a process has held (its resident set)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


@contextmanager
def running(*command: str, port: int, path: str = "/") -> Iterator[Process]:
    """Run ``command``, which will listen on ``port``, until the block is left.

    The block begins when ``GET path`` answers 200. Raises ``RuntimeError`` when it does not within
    30 seconds. What the process says on standard error is said here when it has ended.
    """
    with tempfile.TemporaryFile() as errors:
        began = time.perf_counter()
        child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=errors)
        try:
            while not answers(port, path):
                if child.poll() is not None or time.perf_counter() - began > 30:
                    raise RuntimeError(f"{command} does not answer on port {port}")
                time.sleep(0.005)
            yield Process(child.pid, port, time.perf_counter() - began)
        finally:
            child.terminate()
            try:
                child.wait(timeout=15)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            errors.seek(0)
            sys.stderr.write(errors.read().decode(errors="replace"))


def answers(port: int, path: str) -> bool:
    """Tell whether ``GET path`` on ``port`` is answered with 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
