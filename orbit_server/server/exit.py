"""Expected errors as the last line of a process, and its exit code."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from ..errors import ConfigError, KeysUnavailable, ModelUnreachable, OrbitError


@contextmanager
def exit_on_error() -> Iterator[None]:
    """End the process with a sentence when the block raises an expected error or is interrupted.

    The code is 2 for a configuration that cannot be used, 130 for Ctrl-C, else 1.
    """
    try:
        yield
    except ConfigError as error:
        fail("the configuration cannot be used:\n  " + "\n  ".join(error.mistakes), 2)
    except KeysUnavailable as error:
        fail(f"the database of the keys (database.url) cannot be used: {error}", 1)
    except ModelUnreachable as error:
        remedy = (
            "Start it (`ollama serve`), correct ollama.base_url or ollama.hosts, or work without "
            "it, in config.yaml: embedding.provider: lexical, answer.provider: extractive."
        )
        fail(f"Ollama cannot be reached: {error}. {remedy}", 1)
    except OrbitError as error:
        fail(str(error), 1)
    except KeyboardInterrupt:
        fail("stopped", 130)


def fail(sentence: str, code: int) -> NoReturn:
    """End the process with a sentence on standard error."""
    print(f"orbit: {sentence}", file=sys.stderr)
    raise SystemExit(code)
