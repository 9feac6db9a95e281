"""``config.yaml``, ``.env`` and the environment become one ``Config``; every mistake names its key.

``settings.py`` says what there is, ``allowed.py`` what a value may be. ``load`` knows defaults, the
file and the caller's overrides; later ones win. A scalar keeps the text it was written with until
its field reads it, so that a value means the same in the file and in a variable.
"""

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import StringIO
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from dotenv import dotenv_values
from pydantic import (
    ValidationError,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from ..errors import ConfigError
from .files import TooLarge, read_file
from .schema import Config, Section
from .values import WORDS_OF_TRUTH, masked, truth

__all__ = ["Config", "load"]

_FILE_LIMIT = 1 << 20
_SWITCHED_SECTIONS = ("elasticsearch.", "reranker.", "general.https.", "safety.")
_RENAMED = {"ollama.num_thread": "ollama.num_threads"}
_WITHOUT_MEANING = {
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
_YAML = "tag:yaml.org,2002:"
_PLAIN_TAGS = {
    f"{_YAML}{kind}" for kind in ("str", "int", "float", "bool", "null", "timestamp", "value")
}
_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)\}?")


class _Place(NamedTuple):
    line: int
    name: str


_COMMAND_LINE = _Place(0, "command line")
_ENVIRONMENT = _Place(0, "environment")


@dataclass(frozen=True)
class _Given:
    value: Any
    place: _Place
    variables: tuple[str, ...] = ()


def load(
    path: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Config:
    """Return the configuration, or raise ``ConfigError`` with every mistake at once.

    The file is ``path``, else the one that ``ORBIT_CONFIG`` names, else ``config.yaml`` where there
    is one. ``environ`` (``os.environ`` unless given, never changed) wins over the ``.env`` beside
    the file or, where there is none, in the working directory. ``overrides`` maps dotted keys to
    values that win over the file and are taken as they are, without ``${VAR}``.

    Only regular files are read. A pipe may keep its reader waiting for ever, and gives what it has
    once; each worker reads the configuration, and a reload reads it again.
    """
    environ = os.environ if environ is None else environ
    named = path or environ.get("ORBIT_CONFIG")
    file = Path(named or "config.yaml")
    absent = (FileNotFoundError, NotADirectoryError)
    text = _read(file, absent=() if named else absent)
    variables = {**_read_dotenv(file.parent), **environ}

    loading = _Loading(_printable(str(file)))
    loading.read_file(text or "")
    loading.override(overrides or {})
    loading.substitute(variables)
    loading.read_admin_token(variables)
    return loading.finish()


class _Loading:
    """One run of ``load``: what was given by dotted key, where, and every mistake so far."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.values: dict[str, _Given] = {}
        self.mistakes: list[tuple[_Place, str]] = []
        self.without_meaning: list[str] = []

    def read_file(self, text: str) -> None:
        root = self._compose(text)
        if root is None or root.tag == f"{_YAML}null":
            return
        if not isinstance(root, yaml.MappingNode):
            line = root.start_mark.line + 1
            raise ConfigError([f"{self.file}:{line}: must consist of sections such as general:"])
        self._read_section(root, Config, "")
        if any(path.startswith("safety.") for path in self.values):
            # The original had no other way to say "check questions" than to write the section.
            place = next(v.place for path, v in self.values.items() if path.startswith("safety."))
            self.values.setdefault("safety.mode", _Given("fuzzy", place))

    def _compose(self, text: str) -> yaml.Node | None:
        # The loader written in Python: the one in C overflows the stack on deep nesting.
        try:
            return yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            place, problem = f"{self.file}:{line}", "a character that YAML does not allow"
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = f"{self.file}:{mark.line + 1}:{mark.column + 1}" if mark else self.file
            # What stands in quotes may be part of a password; single characters are a help.
            problem = re.sub(r"(['\"])(?!<)[^'\"]{2,}\1", "something", error.problem or "")
        except RecursionError:
            place, problem = self.file, "nested too deeply"
        except Exception:  # PyYAML lets errors of int() and chr() through
            place, problem = self.file, "contains a number or an escape that YAML does not allow"
        raise ConfigError([f"{place}: not valid YAML: {problem}"])

    def _read_section(self, node: yaml.MappingNode, model: type[Section], prefix: str) -> None:
        fields = {name: info for name, info in model.model_fields.items() if not info.exclude}
        for path, value in self._entries(node, prefix):
            place = self._place(value)
            info = fields.get(path.removeprefix(prefix))
            section = _section(info)
            if path in _WITHOUT_MEANING:
                self.without_meaning.append(path)
            elif info is None:
                self._complain(place, path, _about_unknown(path))
            elif section is None:
                self.values[path] = _Given(self._plain(value, path), place)
            elif isinstance(value, yaml.MappingNode):
                self._read_section(value, section, f"{path}.")
            elif value.tag != f"{_YAML}null":
                names = ", ".join(section.model_fields)
                self._complain(place, path, f"must be a section with keys such as {names}")

    def _entries(self, node: yaml.MappingNode, prefix: str) -> Iterator[tuple[str, yaml.Node]]:
        lines: dict[str, int] = {}
        for key, value in node.value:
            place = self._place(key)
            if not isinstance(key, yaml.ScalarNode):
                self._complain(place, prefix.rstrip(".") or "top level", "a key must be plain text")
                continue
            path = _RENAMED.get(prefix + key.value, prefix + key.value)
            if path in lines:
                text = f"is given twice, in line {lines[path]} already"
                self._complain(place, path, text)
                continue
            lines[path] = place.line
            yield path, value

    def _plain(self, node: yaml.Node, path: str, *, nested: bool = False) -> Any:
        if isinstance(node, yaml.ScalarNode):
            if node.tag not in _PLAIN_TAGS:
                self._complain(self._place(node), path, "YAML tags (!name) mean nothing here")
            return _scalar(node)
        if nested:  # nothing here is that deep, and an alias may well lead back to its own list
            return []
        if isinstance(node, yaml.MappingNode):
            prefix = f"{path}."
            entries = self._entries(node, prefix)
            return {
                name.removeprefix(prefix): self._plain(value, path, nested=True)
                for name, value in entries
            }
        return [self._plain(item, path, nested=True) for item in node.value]

    def override(self, overrides: Mapping[str, Any]) -> None:
        for path, value in overrides.items():
            if path in _LEAVES:
                self.values[path] = _Given(value, _COMMAND_LINE)
            else:
                self._complain(_COMMAND_LINE, path, _about_unknown(path))

    def substitute(self, variables: Mapping[str, str]) -> None:
        # What switches a section off comes first: the rest of the section depends on it.
        def rank(path: str) -> int:
            return 0 if path.endswith(".enabled") else 1 if path == "safety.mode" else 2

        for path in sorted(self.values, key=rank):
            given = self.values[path]
            if given.place is _COMMAND_LINE:
                continue
            references = _References(variables)
            value = references.fill(given.value)
            self.values[path] = _Given(value, given.place, tuple(references.used))
            if references.problems:
                del self.values[path]
                if not self._is_off(path):
                    for problem in references.problems:
                        self._complain(given.place, path, problem)

    def _is_off(self, path: str) -> bool:
        section = next((name for name in _SWITCHED_SECTIONS if path.startswith(name)), None)
        if section is None or path == f"{section}enabled":
            return False
        is_safety = section == "safety."
        if is_safety and str(self._value("safety.mode")).lower() == "disabled":
            return True
        try:
            return not truth(self._value(f"{section}enabled", is_safety))
        except (LookupError, TypeError):
            return False

    def _value(self, path: str, default: Any = None) -> Any:
        given = self.values.get(path)
        return default if given is None or given.value is None else given.value

    def read_admin_token(self, variables: Mapping[str, str]) -> None:
        self.values["admin_token"] = _Given(variables.get("ADMIN_TOKEN"), _ENVIRONMENT)

    def finish(self) -> Config:
        self._follow_files()
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
            raise ConfigError(
                [
                    f"{place.name}: {text}"
                    for place, text in sorted(self.mistakes, key=lambda mistake: mistake[0].line)
                ]
            )
        return config.model_copy(update={"warnings": tuple(self._warnings(config))})

    def _follow_files(self) -> None:
        older = self.values.get("general.safety_prompt_file")
        if older and self._value("safety.prompt_file") is None:
            self.values["safety.prompt_file"] = older
        path = "general.no_results_message_file"
        if isinstance(name := self._value(path, ""), str) and name:
            place = self.values[path].place
            try:
                message = (_read(Path(name)) or "").strip()
            except ConfigError as error:
                self._complain(place, path, str(error))
            else:
                self.values["answer.no_results_message"] = _Given(message, place)

    def _explain(self, error: ErrorDetails) -> None:
        key = error.get("ctx", {}).get("key")
        path = ".".join(map(str, [*error["loc"], *([key] if key else [])]))
        value = attrgetter(path)(Config()) if key else error["input"]
        given = self.values.get(path) or _Given(value, self._nearest_place(path))
        if error["type"] == "secret":
            what = "the value (not shown)"
        elif given.variables:
            what = f"the value of {', '.join(given.variables)} (not shown)"
        else:
            what = _shown(given.value)
        name = "ADMIN_TOKEN" if path == "admin_token" else path
        self._complain(given.place, name, f"{what} is not allowed; it must be {error['msg']}")

    def _nearest_place(self, path: str) -> _Place:
        section = path.rpartition(".")[0]
        places = [v.place for name, v in self.values.items() if name.startswith(f"{section}.")]
        return next(iter(places), _Place(0, self.file))

    def _warnings(self, config: Config) -> Iterator[str]:
        if self.without_meaning:
            names = ", ".join(self.without_meaning)
            yield f"{self.file}: these keys no longer mean anything and are ignored: {names}"
        thresholds = [
            f"chroma.{name}"
            for name in ("confidence_threshold", "relevance_threshold")
            if getattr(config.chroma, name) is not None
        ]
        if thresholds:
            yield (
                f"{self.file}: {' and '.join(thresholds)} used as written. A threshold fits one"
                " embedding model; common values such as 0.85 and 0.7 refuse most right answers"
                " with most models. `calibrate` measures what fits yours."
            )
        https = config.general.https
        if config.general.acme_dir and https.enabled and not https.redirect_http:
            yield (
                f"{self.file}: general.acme_dir is of no use: with HTTPS nobody listens on"
                " general.port, where the proofs are asked for, unless general.https.redirect_http"
                " is true"
            )
        if not config.logging.file.enabled:
            yield f"{self.file}: logging.file.enabled is false, but the chat log is always written"

    def _place(self, node: yaml.Node) -> _Place:
        line = node.start_mark.line + 1
        return _Place(line, f"{self.file}:{line}")

    def _complain(self, place: _Place, path: str, text: str) -> None:
        self.mistakes.append((place, f"{_printable(path)}: {text}"))


class _References:
    """Puts variables in the place of ``${NAME}``, and remembers which and what went wrong."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.variables = variables
        self.used: list[str] = []
        self.problems: list[str] = []

    def fill(self, value: Any) -> Any:
        if isinstance(value, str):
            return _REFERENCE.sub(self._replace, value)
        if isinstance(value, list):
            return [self.fill(item) for item in value]
        if isinstance(value, dict):
            return {name: self.fill(item) for name, item in value.items()}
        return value

    def _replace(self, match: re.Match[str]) -> str:
        name = match[1]
        if name is None:
            return "${"
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or not match[0].endswith("}"):
            self.problems.append("a variable is written ${NAME}, and $${ stands for a plain ${")
        elif name not in self.variables:
            self.problems.append(
                f"the variable {name} is set neither in the environment nor in .env"
            )
        else:
            self.used.append(name)
        return self.variables.get(name, "")


def _scalar(node: yaml.ScalarNode) -> Any:
    text: str = node.value
    if node.tag == f"{_YAML}null":
        return None
    if node.tag == f"{_YAML}bool":
        return WORDS_OF_TRUTH.get(text.lower(), text)
    if node.tag in {f"{_YAML}int", f"{_YAML}float"}:
        for kind in (int, float):
            try:
                if str(kind(text)) == text:  # 0123 and 1.10 stay text: they may be a password
                    return kind(text)
            except ValueError:
                continue
    return text


def _read(path: Path, *, absent: tuple[type[OSError], ...] = ()) -> str | None:
    name = _printable(str(path))
    try:
        data = read_file(path, limit=_FILE_LIMIT)
    except absent:
        return None
    except TooLarge:
        message = f"{name}: cannot be read: larger than {_FILE_LIMIT >> 20} MiB"
        raise ConfigError([message]) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a file name"
        raise ConfigError([f"{name}: cannot be read: {reason}"]) from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"{name}:{line}: cannot be read: not UTF-8 text"]) from None


def _read_dotenv(folder: Path) -> dict[str, str]:
    for place in dict.fromkeys((folder, Path())):
        absent = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
        text = _read(place / ".env", absent=absent)
        if text is not None:
            # Without interpolation: that would look into os.environ, and change a token with a $.
            found = dotenv_values(stream=StringIO(text), interpolate=False)
            return {name: value for name, value in found.items() if value is not None}
    return {}


def _section(info: FieldInfo | None) -> type[Section] | None:
    kind = info.annotation if info is not None else None
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None


def _leaves(model: type[Section], prefix: str = "") -> Iterator[str]:
    for name, info in model.model_fields.items():
        if (section := _section(info)) is not None:
            yield from _leaves(section, f"{prefix}{name}.")
        elif not info.exclude:
            yield prefix + name


_LEAVES = tuple(_leaves(Config))


def _about_unknown(path: str) -> str:
    section, _, name = path.rpartition(".")
    name = name.lower().replace("-", "_")
    if name == "admin_token":
        return "belongs in the variable ADMIN_TOKEN, set in the environment or in .env"
    if path in _LEAVES:
        return f"unknown key; write {name} inside the section {section}"
    sections = {leaf.rpartition(".")[0]: None for leaf in _LEAVES}
    known = [*sections, *_LEAVES]
    here = {key.rpartition(".")[2]: key for key in known if key.rpartition(".")[0] == section}
    there = {leaf.rpartition(".")[2]: leaf for leaf in reversed(_LEAVES)}
    if name in here:
        near = [here[name]]
    else:
        near = [here[match] for match in difflib.get_close_matches(name, here)]
        near += [key for key in known if key.rpartition(".")[2] == name]
        near = near or [there[match] for match in difflib.get_close_matches(name, there)]
    if near:
        return f"unknown key; did you mean {' or '.join(dict.fromkeys(near[:3]))}?"
    return f"unknown key; known here: {', '.join(here) or ', '.join(filter(None, sections))}"


def _shown(value: Any) -> str:
    if value is None:
        return "nothing (null)"
    if isinstance(value, Mapping):
        return "a mapping"
    text = repr(value)
    return masked(text if len(text) <= 60 else f"{text[:56]}…{text[-1]}")


def _printable(text: str) -> str:
    shown = text if text.isprintable() and text else repr(text)
    return shown if len(shown) <= 200 else f"{shown[:199]}…"
