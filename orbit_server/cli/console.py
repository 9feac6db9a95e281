"""What the commands print on: results to standard output, everything else to standard error.

And how they ask.
"""

import re
import select
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

# Names and texts of documents are printed as they are: to rich, [b] in one would be an order.
out = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
notes = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)

MOST_ROWS = 20  # of what went well, and names in a sentence
_ONE_LINE = 10_000
_MOST_SHOWN = 160
# What a terminal would obey: controls, and those that turn the direction of writing around.
_ORDERS = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def say(sentence: str) -> None:
    """Print a status line to standard error."""
    notes.print(sentence)


def typed(prompt: str) -> str | None:
    """Return a line from standard input; ``None`` at its end. Ctrl-C at any moment ends it."""
    print(prompt, end="", file=sys.stderr, flush=True)
    if sys.stdin.isatty():
        _wait_for_a_line()
    try:
        return input()
    except EOFError:
        return None


def _wait_for_a_line() -> None:
    # Python acts on a signal between two steps of its own, or when it breaks off a call. One that
    # comes when ``input`` is about to read does neither, and waits for the line. Here a signal is
    # something to read as well, so whichever comes first, and whenever, ends the wait.
    signals, sender = socket.socketpair()
    with signals, sender:
        sender.setblocking(False)
        before = signal.set_wakeup_fd(sender.fileno())
        try:
            select.select([sys.stdin, signals], [], [])
        finally:
            signal.set_wakeup_fd(before)


def on_one_line(value: object, most: int | None = _MOST_SHOWN) -> str:
    """Return what strangers wrote as one line that no terminal obeys, ``most`` characters of it."""
    text = _ORDERS.sub("\ufffd", " ".join(str(value).split()))
    return text if most is None or len(text) <= most else text[: most - 1] + "…"


def some(names: Sequence[str]) -> str:
    """Return the first ``names``, and how many more there are."""
    more = len(names) - MOST_ROWS
    return ", ".join(names[:MOST_ROWS]) + (f" and {more} more" if more > 0 else "")


def print_table(table: Table) -> None:
    """Print a table as wide as the terminal, or with each row on one line where there is none."""
    for column in table.columns:
        column.overflow = "fold"  # what is cut off an id or a file name is missing
    # A file or another program gets every row as one line, however long.
    wide = Console(highlight=False, markup=False, emoji=False, width=_ONE_LINE)
    (out if out.is_terminal else wide).print(table)


class Advance(Protocol):
    """Tells that ``count`` more steps are done."""

    def __call__(self, count: int = 1, /) -> None: ...


@contextmanager
def progress(description: str, total: int) -> Iterator[Advance]:
    """Show how far ``total`` steps have come; yields what to call after each, or several."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=notes) as bar:
        task = bar.add_task(description, total=total)
        yield lambda count=1, /: bar.update(task, advance=count)
