"""Run the server: ``python run.py``, with the options that ``--help`` lists."""

import signal
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Start the server; the exit code is that of ``orbit_server.main``."""
    # A hangup asks a server to read its configuration again; one that is about to does not die.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # Some supervisors ignore this one, and so would we: nobody would hear of a worker that died.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        from orbit_server.cli.serve import main

        main()
    except KeyboardInterrupt:
        print("orbit: stopped", file=sys.stderr)
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
