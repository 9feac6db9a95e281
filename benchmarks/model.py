"""The model under both: the tests' Ollama stand-in, saying as many words as it is asked for.

A question that ends in ``in 100 words.`` gets 100 pieces of one word each, one every
``--piece-delay`` seconds; a delay of 0 is one piece in every turn of the loop, which is as fast as
128 streams side by side can be written. ``--coalesce`` pieces share one write.
"""

import argparse
import asyncio
import itertools
import re
import signal
import sys
from typing import Any

import uvloop

from tests.support.ollama_standin import OllamaStandIn

WORDS = ("The", "town", "library", "opens", "at", "nine", "and", "lends", "books", "and", "games.")
ONE_TURN = 1e-9


def say(body: dict[str, Any]) -> list[str]:
    """Return as many words as the last message asks for."""
    asked = re.search(r"in (\d+) words\.$", body["messages"][-1]["content"])
    count = int(asked[1]) if asked else 10
    return [word + " " for word in itertools.islice(itertools.cycle(WORDS), count)]


async def serve(options: argparse.Namespace) -> None:
    """Serve until SIGTERM; say on standard error what the clients did wrong."""
    model = OllamaStandIn(port=options.port)
    model.reply = say
    model.piece_delay = options.piece_delay or ONE_TURN
    model.coalesce = options.coalesce
    model.record = False
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await model.start()
    await stopped.wait()
    await model.kill()
    for text in dict.fromkeys(model.misuse):
        print(f"misuse: {text}", file=sys.stderr)


def main() -> None:
    """Run the stand-in on a port."""
    parser = argparse.ArgumentParser(description="An Ollama stand-in that counts words.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--piece-delay", type=float, default=0.02, help="seconds")
    parser.add_argument("--coalesce", type=int, default=1, help="pieces in one write")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
