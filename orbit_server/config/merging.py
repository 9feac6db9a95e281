"""One configuration out of defaults, a tree of sections, overrides and variables.

Every mistake is collected with its place; ``finish`` raises them all at once.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from ..errors import ConfigError
from . import tree
from .files import obstacle, read_text
from .schema import Config
from .section import Section, keys_of, section_of
from .sentences import Place, printable, shown, unknown_key
from .tree import MappingNode, Node, ScalarNode
from .values import NamesPath, boolean
from .variables import References

RENAMED = {"ollama.num_thread": "ollama.num_threads"}
WITHOUT_EFFECT = {
    "mongodb",
    "ollama.summarization",
    "ollama.stream",
    "ollama.timeout",
    "ollama.connector_limit",
    "safety.stream",
    "logging.propagate",
    "logging.capture_warnings",
    "logging.file.filename",
    "logging.file.backup_count",
    "logging.file.rotation",
    "logging.file.format",
}
_SWITCHED_SECTIONS = ("elasticsearch.", "reranker.", "general.https.", "safety.")
_KEYS = dict(keys_of(Config))
_DEEPEST = 3  # a header of one of several hosts
_COMMAND_LINE = Place(0, "command line")
_ENVIRONMENT = Place(0, "environment")


@dataclass(frozen=True)
class Given:
    """A value, where it was given, and the variables that are part of it."""

    value: Any
    place: Place
    variables: tuple[str, ...] = ()


class Merging:
    """What was given so far, by dotted key, and every mistake in it.

    ``source`` is what errors call the file, or whatever the tree was made of.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.values: dict[str, Given] = {}
        self.mistakes: list[tuple[Place, str]] = []
        self.without_effect: list[str] = []

    def read(self, root: Node | None) -> None:
        """Take the keys of a tree; raise ``ConfigError`` for one that has no sections."""
        if root is None or tree.is_null(root):
            return
        if not isinstance(root, MappingNode):
            message = f"{self.source}:{tree.line(root)}: must consist of sections such as general:"
            raise ConfigError([message])
        self._read_section(root, Config, "")
        if any(path.startswith("safety.") for path in self.values):
            # The original had no other way to say "check questions" than to write the section.
            place = next(v.place for path, v in self.values.items() if path.startswith("safety."))
            self.values.setdefault("safety.mode", Given("fuzzy", place))

    def _read_section(self, node: MappingNode, model: type[Section], prefix: str) -> None:
        fields = {name: info for name, info in model.model_fields.items() if not info.exclude}
        for path, value in self._entries(node, prefix):
            place = self._place(value)
            info = fields.get(path.removeprefix(prefix))
            section = section_of(info)
            if path in WITHOUT_EFFECT:
                self.without_effect.append(path)
            elif info is None:
                self._complain(place, path, unknown_key(path, tuple(_KEYS)))
            elif section is None:
                self.values[path] = Given(self._plain(value, path), place)
            elif isinstance(value, MappingNode):
                self._read_section(value, section, f"{path}.")
            elif not tree.is_null(value):
                names = ", ".join(section.model_fields)
                self._complain(place, path, f"must be a section with keys such as {names}")

    def _entries(self, node: MappingNode, prefix: str) -> Iterator[tuple[str, Node]]:
        lines: dict[str, int] = {}
        for key, value in node.value:
            place = self._place(key)
            if not isinstance(key, ScalarNode):
                self._complain(place, prefix.rstrip(".") or "top level", "a key must be plain text")
                continue
            path = RENAMED.get(prefix + key.value, prefix + key.value)
            if path in lines:
                text = f"is given twice, in line {lines[path]} already"
                self._complain(place, path, text)
                continue
            lines[path] = place.line
            yield path, value

    def _plain(self, node: Node, path: str, depth: int = 0) -> Any:
        if isinstance(node, ScalarNode):
            if not tree.has_meaning(node):
                self._complain(self._place(node), path, "YAML tags (!name) are not supported")
            return tree.scalar(node)
        if depth == _DEEPEST:  # an alias may well lead back to its own list
            return []
        if isinstance(node, MappingNode):
            prefix = f"{path}."
            entries = self._entries(node, prefix)
            return {
                name.removeprefix(prefix): self._plain(value, path, depth + 1)
                for name, value in entries
            }
        return [self._plain(item, path, depth + 1) for item in node.value]

    def override(self, overrides: Mapping[str, Any]) -> None:
        """Let options of the command line, by dotted key, win over what was read."""
        for path, value in overrides.items():
            if path in _KEYS:
                self.values[path] = Given(value, _COMMAND_LINE)
            else:
                self._complain(_COMMAND_LINE, path, unknown_key(path, tuple(_KEYS)))

    def substitute(self, variables: Mapping[str, str]) -> None:
        """Replace ``${NAME}`` in what was read, and take ``ADMIN_TOKEN``."""

        # What switches a section off comes first: the rest of the section depends on it.
        def rank(path: str) -> int:
            return 0 if path.endswith(".enabled") else 1 if path == "safety.mode" else 2

        for path in sorted(self.values, key=rank):
            given = self.values[path]
            if given.place is _COMMAND_LINE:
                continue
            references = References(variables)
            value = references.fill(given.value)
            self.values[path] = Given(value, given.place, tuple(references.used))
            if references.problems:
                del self.values[path]
                if not self._is_off(path):
                    for problem in references.problems:
                        self._complain(given.place, path, problem)
        self.values["admin_token"] = Given(variables.get("ADMIN_TOKEN"), _ENVIRONMENT)

    def finish(self) -> Config:
        """Return the configuration, or raise ``ConfigError`` with every mistake, by line."""
        self._follow_files()
        self._check_paths()
        data: dict[str, Any] = {}
        for path, given in self.values.items():
            *sections, name = path.split(".")
            target = data
            for section in sections:
                target = target.setdefault(section, {})
            target[name] = given.value
        try:
            config = Config.model_validate(data)
        except ValidationError as error:
            for details in error.errors(include_url=False):
                self._explain(details)
        if self.mistakes:
            by_line = sorted(self.mistakes, key=lambda mistake: mistake[0].line)
            raise ConfigError([f"{place.name}: {text}" for place, text in by_line])
        return config

    def _follow_files(self) -> None:
        older = self.values.get("general.safety_prompt_file")
        if older and self._value("safety.prompt_file") is None:
            self.values["safety.prompt_file"] = older
        path = "general.no_results_message_file"
        if isinstance(name := self._value(path, ""), str) and name:
            place = self.values[path].place
            try:
                message = read_text(Path(name)).strip()
            except ConfigError as error:
                self._complain(place, path, str(error))
            else:
                self.values["answer.no_results_message"] = Given(message, place)

    def _check_paths(self) -> None:
        # Some libraries that open these would wait for a pipe, and keep the server from starting.
        for path, info in _KEYS.items():
            marks = (mark for mark in info.metadata if isinstance(mark, NamesPath))
            mark = next(marks, None)
            if mark is None or (path not in self.values and self._is_off(path)):
                continue
            given = self.values.get(path) or Given(info.default, Place(0, self.source))
            name = mark.path(given.value) if isinstance(given.value, str) else None
            if name and (problem := obstacle(Path(name), folder=mark.folder)):
                said = f"{printable(name)}: cannot be used: {problem}"
                self._complain(given.place, path, said)

    def _is_off(self, path: str) -> bool:
        section = next((name for name in _SWITCHED_SECTIONS if path.startswith(name)), None)
        if section is None or path == f"{section}enabled":
            return False
        shared = str(self._value("retrieval.words")).lower() == "elasticsearch"
        if section == "elasticsearch." and shared:  # the words are there, if not the log
            return False
        is_safety = section == "safety."
        if is_safety and str(self._value("safety.mode")).lower() == "disabled":
            return True
        try:
            return not boolean(self._value(f"{section}enabled", is_safety))
        except (LookupError, TypeError):
            return False

    def _value(self, path: str, default: Any = None) -> Any:
        given = self.values.get(path)
        return default if given is None or given.value is None else given.value

    def _explain(self, error: ErrorDetails) -> None:
        key = error.get("ctx", {}).get("key")
        path = ".".join(map(str, [*error["loc"], *([key] if key else [])]))
        value = attrgetter(path)(Config()) if key else error["input"]
        given = self.values.get(path) or self._inside(path, value)
        if error["type"] == "secret":
            what = "the value (not shown)"
        elif given.variables:
            what = f"the value of {', '.join(given.variables)} (not shown)"
        else:
            what = shown(given.value)
        name = "ADMIN_TOKEN" if path == "admin_token" else path
        self._complain(given.place, name, f"{what} is not allowed; it must be {error['msg']}")

    def _inside(self, path: str, value: Any) -> Given:
        """Return ``value``, which stands at ``path`` inside of a list or mapping that was given."""
        for name, given in self.values.items():
            if path.startswith(f"{name}."):
                return Given(value, given.place, given.variables)
        return Given(value, self._nearest_place(path))

    def _nearest_place(self, path: str) -> Place:
        section = path.rpartition(".")[0]
        places = [v.place for name, v in self.values.items() if name.startswith(f"{section}.")]
        return next(iter(places), Place(0, self.source))

    def _place(self, node: Node) -> Place:
        line = tree.line(node)
        return Place(line, f"{self.source}:{line}" if line else self.source)

    def _complain(self, place: Place, path: str, text: str) -> None:
        self.mistakes.append((place, f"{printable(path)}: {text}"))
