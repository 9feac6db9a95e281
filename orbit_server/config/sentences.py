"""The parts of an error message: where a mistake stands, what was written, what was meant."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .addresses import masked


class Place(NamedTuple):
    """Where a value was given: the line (0 where there is none), and the place as it is shown."""

    line: int
    name: str


def shown(value: Any) -> str:
    """Return ``value`` as an error may repeat it: short, in one line, no password in it."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, Mapping):
        return "a mapping"
    text = repr(value)
    return masked(text if len(text) <= 60 else f"{text[:56]}…{text[-1]}")


def printable(text: str) -> str:
    """Return a name of a file or a key in one line, at most 200 characters."""
    shown = text if text.isprintable() and text else repr(text)
    return shown if len(shown) <= 200 else f"{shown[:199]}…"


def unknown_key(path: str, keys: Sequence[str]) -> str:
    """Return what to say of the key ``path``, which is none of ``keys`` (dotted names)."""
    section, _, name = path.rpartition(".")
    name = name.lower().replace("-", "_")
    if name == "admin_token":
        return "belongs in the variable ADMIN_TOKEN, set in the environment or in .env"
    if path in keys:
        return f"unknown key; write {name} inside the section {section}"
    sections = {key.rpartition(".")[0]: None for key in keys}
    known = [*sections, *keys]
    here = {key.rpartition(".")[2]: key for key in known if key.rpartition(".")[0] == section}
    there = {key.rpartition(".")[2]: key for key in reversed(keys)}
    if name in here:
        near = [here[name]]
    else:
        near = [here[match] for match in difflib.get_close_matches(name, here)]
        near += [key for key in known if key.rpartition(".")[2] == name]
        near = near or [there[match] for match in difflib.get_close_matches(name, there)]
    if near:
        return f"unknown key; did you mean {' or '.join(dict.fromkeys(near[:3]))}?"
    return f"unknown key; known here: {', '.join(here) or ', '.join(filter(None, sections))}"
