"""The result of a check: how bad it is, in a sentence, and what to do about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ...config.addresses import masked

Status = Literal["ok", "warn", "fail"]

_ORDER: tuple[Status, ...] = ("ok", "warn", "fail")


@dataclass(frozen=True, slots=True)
class Finding:
    """One result of the check ``name``. ``remedy`` is a command or a key; empty when all is ok."""

    name: str
    status: Status
    message: str
    remedy: str = ""


def ok(name: str, message: str) -> Finding:
    """Return a passed check."""
    return Finding(name, "ok", _line(message))


def warn(name: str, message: str, remedy: str) -> Finding:
    """Return a warning: the server works, and something should be done."""
    return Finding(name, "warn", _line(message), _line(remedy))


def fail(name: str, message: str, remedy: str) -> Finding:
    """Return a failed check: the server does not start, or does not answer."""
    return Finding(name, "fail", _line(message), _line(remedy))


def worst(findings: Sequence[Finding]) -> Status:
    """Return the status of all ``findings`` together."""
    return max((each.status for each in findings), key=_ORDER.index, default="ok")


def _line(text: str) -> str:
    # Parts of it come from other servers and from file names: one line, nothing that a terminal
    # would obey, and no password of a URL.
    line = " ".join(masked(text).split())
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in line)
