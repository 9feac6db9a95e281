"""The program ``orbit``, also called ``python -m orbit_server``."""

import signal
import sys


def main() -> None:
    """Run the command that the command line names; exit as it says."""
    if sys.argv[1:2] == ["serve"]:
        # A hangup asks a server to read its configuration again; one that is about to does not
        # die. Before anything is imported, since that takes a second.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # Some supervisors ignore this one, and so would we: nobody would hear of a worker that died.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        from .cli.main import main

        main()
    except KeyboardInterrupt:
        print("orbit: stopped", file=sys.stderr)
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
