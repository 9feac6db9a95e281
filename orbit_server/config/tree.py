"""The sections and keys of a file or a mapping, each with the line where it stands.

Both become the nodes of PyYAML: a file is composed but not constructed, so that a scalar keeps the
text it was written with until its field reads it, and means the same in the file as in a variable.
"""

import os
import re
from collections.abc import Mapping
from typing import Any

import yaml
from yaml import MappingNode, Node, ScalarNode, SequenceNode

from ..errors import ConfigError
from .values import BOOLEANS

__all__ = ["MappingNode", "Node", "ScalarNode"]

_YAML = "tag:yaml.org,2002:"
_GIVEN = "!given"  # the tag of a value that a program has given, kept as it is
_PLAIN_TAGS = {
    f"{_YAML}{kind}" for kind in ("str", "int", "float", "bool", "null", "timestamp", "value")
}


def compose(text: str, file: str) -> Node | None:
    """Return the tree of ``text``, ``None`` for an empty one.

    Raises ``ConfigError`` with one line that names ``file`` and the place in it.
    """
    # The loader written in Python: the one in C overflows the stack on deep nesting.
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        place, problem = f"{file}:{line}", "a character that YAML does not allow"
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark else file
        # What stands in quotes may be part of a password; single characters are a help.
        problem = re.sub(r"(['\"])(?!<)[^'\"]{2,}\1", "something", error.problem or "")
    except RecursionError:
        place, problem = file, "nested too deeply"
    except Exception:  # PyYAML lets errors of int() and chr() through
        place, problem = file, "contains a number or an escape that YAML does not allow"
    raise ConfigError([f"{place}: not valid YAML: {problem}"])


def from_mapping(mapping: Mapping[str, Any]) -> MappingNode:
    """Return the tree of what a program has given; its nodes have no lines.

    Raises ``RecursionError`` for a mapping that contains itself.
    """
    entries = [(_given(str(name)), _given(value)) for name, value in mapping.items()]
    return MappingNode(f"{_YAML}map", entries)


def _given(value: Any) -> Node:
    if isinstance(value, Mapping):
        return from_mapping(value)
    if isinstance(value, list | tuple):
        return SequenceNode(f"{_YAML}seq", [_given(item) for item in value])
    if value is None:
        return ScalarNode(f"{_YAML}null", "")
    return ScalarNode(_GIVEN, os.fspath(value) if isinstance(value, os.PathLike) else value)


def line(node: Node) -> int:
    """Return the line on which ``node`` begins, 0 where it was not in a file."""
    return node.start_mark.line + 1 if node.start_mark else 0


def is_null(node: Node) -> bool:
    """Return whether nothing is written here, or null."""
    return bool(node.tag == f"{_YAML}null")


def has_meaning(node: ScalarNode) -> bool:
    """Return whether ``node`` is plain YAML, without a ``!tag`` that nothing here reads."""
    return node.tag in _PLAIN_TAGS or node.tag == _GIVEN


def scalar(node: ScalarNode) -> Any:
    """Return the value of ``node``: text, unless it can only have been meant otherwise."""
    text: str = node.value
    if node.tag == f"{_YAML}null":
        return None
    if node.tag == f"{_YAML}bool":
        return BOOLEANS.get(text.lower(), text)
    if node.tag in {f"{_YAML}int", f"{_YAML}float"}:
        for kind in (int, float):
            try:
                if str(kind(text)) == text:  # 0123 and 1.10 stay text: they may be a password
                    return kind(text)
            except ValueError:
                continue
    return text
