"""The load generator: many streams at once from one light process, a job in, figures out.

    echo '{"port": 3000, …}' | python -m benchmarks.load

Each client is one connection and one protocol object; what comes in is only collected, and counted
when the answer has ended, so that this process never becomes what is measured.
"""

import asyncio
import itertools
import json
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import cast

import httptools
import uvloop


@dataclass(frozen=True, slots=True)
class Job:
    """What to load, and for how long.

    ``clients`` connections to ``127.0.0.1:port`` each send a request to ``path`` again and again,
    with the next of ``bodies``, beginning new ones for ``seconds``; they start spread over
    ``spread`` seconds. A good answer of ``tokens`` has status 200, holds ``piece`` exactly
    ``pieces`` times, and ``last`` once.
    """

    port: int
    path: str
    headers: dict[str, str]
    bodies: list[str]
    tokens: int
    pieces: int
    piece: str
    last: str
    clients: int
    seconds: float
    spread: float = 0.0
    deadline: float = 120.0


@dataclass(slots=True)
class Result:
    """What came back; times in seconds.

    ``peak`` is the most answers that were being streamed at the same time, ``duration`` the time
    from the first request to the end of the last answer.
    """

    answers: int = 0
    tokens: int = 0
    bytes: int = 0
    duration: float = 0.0
    peak: int = 0
    first_token: list[float] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)


class Client(asyncio.Protocol):
    """One connection that asks again as soon as it has its answer, until ``until``."""

    def __init__(self, load: "Load") -> None:
        self.load = load
        self.parser = httptools.HttpResponseParser(self)
        self.body = bytearray()
        self.streaming = False
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's own is no subclass
        self.ask()

    def ask(self) -> None:
        self.body.clear()
        self.asked = time.perf_counter()
        self.transport.write(next(self.load.requests))

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.fail(type(error).__name__)

    def on_body(self, body: bytes) -> None:
        if not self.streaming and not body.startswith(b":"):
            self.streaming = True
            self.load.begun(time.perf_counter() - self.asked)
        self.body += body

    def on_message_complete(self) -> None:
        self.stop_streaming()
        status = self.parser.get_status_code()
        if status != 200:
            self.fail(f"status {status}: {self.body[:200].decode(errors='replace')}")
            return
        if problem := self.load.count(self.body):
            self.fail(problem)
        elif time.perf_counter() < self.load.until:
            self.ask()
        else:
            self.finish()

    def stop_streaming(self) -> None:
        if self.streaming:
            self.streaming = False
            self.load.streaming -= 1

    def connection_lost(self, error: Exception | None) -> None:
        self.stop_streaming()
        if not self.finished.done():
            self.fail(f"connection lost: {error}")

    def fail(self, problem: str) -> None:
        self.load.errors[problem] += 1
        self.finish()

    def finish(self) -> None:
        self.transport.close()
        if not self.finished.done():
            self.finished.set_result(None)


class Load:
    """One job and what came of it so far."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.piece, self.last = job.piece.encode(), job.last.encode()
        self.requests = itertools.cycle([self.request(body.encode()) for body in job.bodies])
        self.result = Result()
        self.errors: Counter[str] = Counter()
        self.streaming = 0
        self.until = 0.0

    def request(self, body: bytes) -> bytes:
        """Return the whole request that carries ``body``."""
        headers = {
            "Host": f"127.0.0.1:{self.job.port}",
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **self.job.headers,
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"POST {self.job.path} HTTP/1.1\r\n{lines}\r\n".encode() + body

    def begun(self, first_token: float) -> None:
        """Note that an answer has begun."""
        self.result.first_token.append(first_token)
        self.streaming += 1
        self.result.peak = max(self.result.peak, self.streaming)

    def count(self, body: bytearray) -> str | None:
        """Count a whole answer; return what is wrong with it."""
        pieces = body.count(self.piece)
        if pieces != self.job.pieces or body.count(self.last) != 1:
            return f"{pieces} pieces, ending in {bytes(body[-200:])!r}"
        self.result.answers += 1
        self.result.tokens += self.job.tokens
        self.result.bytes += len(body)
        return None

    async def run(self) -> Result:
        """Do the job."""
        started = time.perf_counter()
        self.until = started + self.job.seconds
        try:
            async with asyncio.timeout(self.job.seconds + self.job.deadline):
                pause = self.job.spread / self.job.clients
                each = [self.one(number * pause) for number in range(self.job.clients)]
                await asyncio.gather(*each)
        except TimeoutError:
            self.errors["deadline passed"] += 1
        self.result.duration = time.perf_counter() - started
        self.result.errors = dict(self.errors)
        return self.result

    async def one(self, delay: float) -> None:
        await asyncio.sleep(delay)
        loop = asyncio.get_running_loop()
        try:
            _, client = await loop.create_connection(
                lambda: Client(self), "127.0.0.1", self.job.port
            )
        except OSError as error:
            self.errors[f"connect: {error}"] += 1
        else:
            await client.finished


def main() -> None:
    """Read one job from standard input, print its result."""
    job = Job(**json.load(sys.stdin))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result = runner.run(Load(job).run())
    json.dump(asdict(result), sys.stdout)


if __name__ == "__main__":
    main()
