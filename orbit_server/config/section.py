"""What a section of the configuration is, and how its keys are declared and found."""

from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

from .addresses import masked

S = TypeVar("S", bound="Section")
T = TypeVar("T")


class Section(BaseModel):
    """Base of all sections: fixed once read, unknown names refused, nothing secret in its repr."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, masked(value) if isinstance(value, str) else value


def setting(default: T, description: str) -> T:
    """Declare a key: its default, and its meaning in one line."""
    return Field(default=default, description=description)


def rare(default: T, description: str) -> T:
    """Declare a key that few need: it stands in the last block of the example."""
    return Field(default=default, description=description, json_schema_extra={"rare": True})


def section(model: type[S]) -> S:
    """Declare a section, described by the docstring of its model."""
    return setting(model(), model.__doc__ or "")


def section_of(info: FieldInfo | None) -> type[Section] | None:
    """Return the section that a field holds, ``None`` for a plain key."""
    kind = info.annotation if info is not None else None
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None


def keys_of(model: type[Section], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield the dotted name and the field of each key that a file may hold, in order."""
    for name, info in model.model_fields.items():
        if (inner := section_of(info)) is not None:
            yield from keys_of(inner, f"{prefix}{name}.")
        elif not info.exclude:
            yield prefix + name, info
