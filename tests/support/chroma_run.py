"""A real Chroma server for tests: ``async with chroma_run(folder) as running``."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from .ports import HOST, free_port, listens

LOG = "chroma.log"
START_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class RunningChroma:
    """Where a Chroma server answers, and the process that it is."""

    host: str
    port: int
    process: subprocess.Popen[bytes]


@asynccontextmanager
async def chroma_run(folder: Path, *, port: int | None = None) -> AsyncIterator[RunningChroma]:
    """Run ``chroma run`` in ``folder``, which keeps its data and log, until the block ends.

    A free port is chosen unless one is given (to come back at the same address).
    """
    running = await _started(folder, port)
    try:
        yield running
    finally:
        running.process.terminate()
        await asyncio.to_thread(running.process.wait)


async def _started(folder: Path, port: int | None) -> RunningChroma:
    for _ in range(3):  # somebody else may take the free port before Chroma does
        running = _spawned(folder, port or free_port())
        try:
            async with asyncio.timeout(START_SECONDS):
                while running.process.poll() is None:
                    if await listens(running.port):
                        return running
                    await asyncio.sleep(0.05)
        except BaseException:
            running.process.kill()
            running.process.wait()
            raise
    raise RuntimeError(f"Chroma did not start, see {folder / LOG}.")


def _spawned(folder: Path, port: int) -> RunningChroma:
    folder.mkdir(parents=True, exist_ok=True)
    chroma, data = Path(sys.executable).with_name("chroma"), folder / "data"
    with (folder / LOG).open("ab") as log:
        process = subprocess.Popen(
            [chroma, "run", "--path", data, "--host", HOST, "--port", str(port)],
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    return RunningChroma(HOST, port, process)
