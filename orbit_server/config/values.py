"""What a value of the configuration may be: its kind in words, and the function that reads it."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import GetCoreSchemaHandler, SecretStr
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

T = TypeVar("T")


@dataclass(frozen=True)
class Allowed:
    """A kind of value: the sentence that describes it, and the function that reads it or raises.

    ``read`` takes whatever was written (text, number, boolean, ``None``, list, mapping) and raises
    ``ValueError``, ``TypeError``, ``LookupError`` or ``OverflowError`` for what is not allowed.
    Values of a ``secret`` kind are never repeated in an error.
    """

    words: str
    read: Callable[[Any], Any]
    secret: bool = False

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._read_or_explain)

    def _read_or_explain(self, value: Any) -> Any:
        try:
            return self.read(value)
        except (ValueError, TypeError, LookupError, OverflowError):
            raise refusal(self.words, secret=self.secret) from None


def refusal(words: str, *, secret: bool = False, key: str = "") -> PydanticCustomError:
    """Return the error that says in ``words`` what is allowed; ``key`` names a field below."""
    kind = "secret" if secret else "allowed"
    return PydanticCustomError(kind, "{words}", {"words": words, "key": key})


def optional(allowed: Allowed) -> Allowed:
    """Return ``allowed``, or nothing: null and the empty text."""

    def read(value: Any) -> Any:
        return None if value is None or value == "" else allowed.read(value)

    return Allowed(f"{allowed.words}, or null", read, allowed.secret)


def whole(low: int, high: int) -> Allowed:
    """Allow whole numbers from ``low`` to ``high``."""

    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise TypeError
        if not low <= (number := int(value)) <= high:
            raise ValueError
        return number

    return Allowed(f"a whole number from {low} to {high}", read)


def number(low: float, high: float, *, above: bool = False, what: str = "a number") -> Allowed:
    """Allow numbers from ``low`` (``above``: without it) to ``high``."""

    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise TypeError
        number = float(value)
        if not low <= number <= high or (above and number == low):
            raise ValueError
        return number

    return Allowed(f"{what} {'above' if above else 'from'} {low} {'up ' * above}to {high}", read)


class _OneOf:
    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        known = {name.lower(): name for name in get_args(source)}
        allowed = Allowed(
            f"one of {', '.join(known.values())}",
            lambda value: known[plain_text(value).strip().lower()],
        )
        return allowed.__get_pydantic_core_schema__(source, handler)


def matching(pattern: str, words: str) -> Allowed:
    """Allow texts that ``pattern`` matches whole."""

    def read(value: Any) -> str:
        if not re.fullmatch(pattern, text := plain_text(value)):
            raise ValueError
        return text

    return Allowed(words, read)


def listed(words: str, read_item: Callable[[Any], Any]) -> Allowed:
    """Allow a list, or one item alone, of what ``read_item`` takes."""

    def read(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple | None):
            raise TypeError
        return tuple(read_item(item) for item in value or ())

    return Allowed(f"a list of {words}", read)


BOOLEANS = {"true": True, "yes": True, "on": True, "1": True}
BOOLEANS |= {"false": False, "no": False, "off": False, "0": False}


def boolean(value: Any) -> bool:
    """Read a switch, in any of the words that YAML or people use."""
    if isinstance(value, float):
        raise TypeError
    return BOOLEANS[str(value).strip().lower()]


def plain_text(value: Any) -> str:
    """Read a text that is not empty."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise TypeError
    text = str(value)
    text.encode()  # a lone surrogate from a YAML escape could be neither logged nor sent
    if not text.strip() or "\0" in text:
        raise ValueError
    return text


def secret(value: Any) -> SecretStr:
    """Read a text that is never shown."""
    return SecretStr(
        plain_text(value.get_secret_value() if isinstance(value, SecretStr) else value)
    )


def token(value: Any) -> SecretStr:
    """Read a secret that is long enough not to be guessed."""
    found = secret(value)
    if not re.fullmatch(r"[!-~]{16,}", found.get_secret_value()):
        raise ValueError
    return found


def time_zone(value: Any) -> str:
    """Read the name of a time zone that this machine knows."""
    name = plain_text(value).strip()
    try:
        ZoneInfo(name)
    except (OSError, ZoneInfoNotFoundError) as error:
        raise ValueError from error
    return name


REDACTIONS = ("email", "phone", "card", "iban")


def redaction(value: Any) -> str:
    """Read one of ``REDACTIONS``, or a regular expression between slashes."""
    name = plain_text(value)
    if len(name) > 2 and name.startswith("/") and name.endswith("/"):
        try:
            re.compile(name[1:-1])
        except (re.error, RecursionError) as error:
            raise ValueError from error
    elif name not in REDACTIONS:
        raise ValueError
    return name


def duration(value: Any) -> str | int | float:
    """Read a duration as Ollama writes it, or a number of seconds."""
    if isinstance(value, str) and re.fullmatch(r"-?([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+", value):
        return value
    seconds = float(plain_text(value))
    if not abs(seconds) <= 1e9:
        raise ValueError
    return int(seconds) if seconds.is_integer() else seconds


def thinking(value: Any) -> bool | str:
    """Read a switch or a level of thinking."""
    level = str(value).strip().lower()
    return level if level in {"low", "medium", "high"} else boolean(value)


_TEXT = Allowed(
    "text that is not empty (in quotes where YAML reads it as something else)", plain_text
)
_SWITCH = Allowed("true or false (or yes/no, on/off, 1/0)", boolean)


@dataclass(frozen=True)
class NamesPath:
    """Marks a key whose value names a file, or a ``folder``; ``path`` finds the name in it."""

    folder: bool = False
    path: Callable[[str], str | None] = str


Switch = Annotated[bool, _SWITCH]
OptionalSwitch = Annotated[bool | None, optional(_SWITCH)]
Text = Annotated[str, _TEXT]
OptionalText = Annotated[str | None, optional(_TEXT)]
File = Annotated[str, _TEXT, NamesPath()]
OptionalFile = Annotated[str | None, optional(_TEXT), NamesPath()]
Folder = Annotated[str, _TEXT, NamesPath(folder=True)]
OptionalFolder = Annotated[str | None, optional(_TEXT), NamesPath(folder=True)]
OptionalSecret = Annotated[SecretStr | None, optional(Allowed("text", secret, secret=True))]
Limit = Annotated[int, whole(0, 1_000_000_000)]
Port = Annotated[int, whole(1, 65535)]
Count = Annotated[int, whole(1, 1000)]
Temperature = Annotated[float, number(0, 2)]
Share = Annotated[float, number(0, 1)]
Penalty = Annotated[float, number(0, 10, above=True)]
Candidates = Annotated[int, whole(0, 100_000)]
Distance = Annotated[float | None, optional(number(0, 2))]
Seconds = Annotated[float, number(0, 86_400, above=True, what="a number of seconds")]
Pause = Annotated[float, number(0, 86_400, what="a number of seconds")]
OneOf = Annotated[T, _OneOf()]
