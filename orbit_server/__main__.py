"""The program ``orbit``, also called ``python -m orbit_server``."""

import os
import signal
import sys

from .server.terminal import Terminal


def main() -> None:
    """Run the command that the command line names; exit as it says."""
    if sys.argv[1:2] == ["serve"]:
        # SIGHUP asks a server to read its configuration again; one that is about to does not die.
        # Before anything else is imported, since that takes a second.
        terminal = Terminal()
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as nohup sets it
            signal.signal(signal.SIGHUP, terminal.exit_if_gone)
    # Some supervisors ignore this one, and so would we: nobody would hear of a worker that died.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _exclude_other_users()
    try:
        from .cli.main import main

        main()
    except KeyboardInterrupt:
        print("orbit: stopped", file=sys.stderr)
        raise SystemExit(130) from None


def _exclude_other_users() -> None:
    # What a command or the server creates holds documents and questions. A umask that excludes
    # other users already stays: it may let a group read the logs on purpose.
    mask = os.umask(0o077)
    if mask & 0o007 == 0o007:
        os.umask(mask)


if __name__ == "__main__":
    main()
