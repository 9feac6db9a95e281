"""The model under all: the tests' Ollama stand-in, saying as many words as it is asked for.

A question that ends in ``in 100 words?`` gets 100 pieces of one word each: the first after
``--first`` seconds, then one every ``--piece-delay`` seconds; a delay of 0 is one piece in every
turn of the loop, which is as fast as streams side by side can be written. ``--gaps`` names a file
for the seconds between the answer to an embedding and the next question to the model, which means
something as long as one client asks at a time.
"""

import argparse
import asyncio
import itertools
import json
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

import uvloop

from tests.support.ollama_standin import OllamaStandIn

DIMENSION = 384
WORDS = ("The", "town", "library", "opens", "at", "nine", "and", "lends", "books", "and", "games.")
ONE_TURN = 1e-9


class Model(OllamaStandIn):
    """The stand-in, measuring how long its client thinks between embedding and question."""

    def __init__(self, port: int) -> None:
        super().__init__(port=port)
        self.gaps: list[float] = []
        self._embedded: float | None = None

    def arrived(self, incoming: Any) -> None:
        super().arrived(incoming)
        if incoming.path == "/api/chat" and self._embedded is not None:
            self.gaps.append(time.perf_counter() - self._embedded)
            self._embedded = None

    async def _answer(self, connection: Any, incoming: Any) -> None:
        await super()._answer(connection, incoming)
        if incoming.path == "/api/embed":
            self._embedded = time.perf_counter()


def say(body: dict[str, Any]) -> list[str]:
    """Return as many words as the last message asks for."""
    asked = re.search(r"in (\d+) words\?$", body["messages"][-1]["content"])
    count = int(asked[1]) if asked else 10
    return [word + " " for word in itertools.islice(itertools.cycle(WORDS), count)]


async def serve(options: argparse.Namespace) -> None:
    """Serve until SIGTERM; say on standard error what the clients did wrong."""
    model = Model(options.port)
    model.reply = say
    model.dimension = DIMENSION
    model.first_delay = options.first or ONE_TURN
    model.piece_delay = options.piece_delay or ONE_TURN
    model.record = False
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await model.start()
    await stopped.wait()
    await model.kill()
    for text in dict.fromkeys(model.misuse):
        print(f"misuse: {text}", file=sys.stderr)
    if options.gaps:
        options.gaps.write_text(json.dumps(model.gaps))


def main() -> None:
    """Run the stand-in on a port."""
    parser = argparse.ArgumentParser(description="An Ollama stand-in that counts words.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--first", type=float, default=0.0005, help="seconds to the first piece")
    parser.add_argument("--piece-delay", type=float, default=0.02, help="seconds")
    parser.add_argument("--gaps", type=Path, help="file for what was measured")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
