"""Chroma's server as a process that ends with the one that started it.

Run as a script, with the arguments of Chroma's own command line. Its standard input comes from its
parent, which never writes: the input ends when the parent does, however that came about.
"""

import os
import signal
import sys
import threading
import time

_PATIENCE_SECONDS = 5.0


def main(arguments: list[str]) -> None:
    """Run Chroma with ``arguments`` until it is told to stop or standard input ends."""
    # The bindings alone: the chromadb package would read the environment and a ``.env``.
    import chromadb_rust_bindings  # type: ignore[import-untyped]

    threading.Thread(target=_end_with_parent, daemon=True).start()
    chromadb_rust_bindings.cli(["chroma", *arguments])


def _end_with_parent() -> None:
    # Not through sys.stdin: a thread that waits in there upsets Python when it ends.
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    # It waits for whoever owes it the rest of a request, however long that takes.
    time.sleep(_PATIENCE_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1:])
