"""Reading a JSON body once, within a limit, and naming what is wrong with it."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from starlette.requests import Request

from ..errors import (
    BodyTooLarge,
    InvalidRequest,
    RequestTimeout,
    Unprocessable,
    UnsupportedMediaType,
)

Model = TypeVar("Model", bound=BaseModel)

BODY_SECONDS = 30.0
_DIGITS = 18  # no length has more, and Python refuses to read thousands of them
_LONGEST_NAME = 100

# A value of one of these types, as pydantic names the members of a union in an error's place.
_SCALARS = {"str", "int", "constrained-int", "float", "bool"}
_PREDICATES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "missing": lambda _: "is missing",
    "string_type": lambda _: "must be text",
    "string_unicode": lambda _: "must be text",
    "bool_type": lambda _: "must be true or false",
    "bool_parsing": lambda _: "must be true or false",
    "list_type": lambda _: "must be a list",
    "tuple_type": lambda _: "must be a list",
    "dict_type": lambda _: "must be an object",
    "model_type": lambda _: "must be an object",
    "int_type": lambda _: "must be a whole number",
    "int_parsing": lambda _: "must be a whole number",
    "int_from_float": lambda _: "must be a whole number",
    "int_parsing_size": lambda _: "must be a smaller number",
    "float_type": lambda _: "must be a number",
    "float_parsing": lambda _: "must be a number",
    "finite_number": lambda _: "must be a finite number",
    "literal_error": lambda limit: f"must be {limit['expected']}".replace("'", '"'),
    "greater_than_equal": lambda limit: f"must be at least {limit['ge']}",
    "less_than_equal": lambda limit: f"must be at most {limit['le']}",
    "less_than": lambda limit: f"must be less than {limit['lt']}",
    "string_too_short": lambda _: "must not be empty",
    "string_too_long": lambda limit: f"must have at most {limit['max_length']} characters",
    "extra_forbidden": lambda _: "is not a field here",
    "too_long": lambda limit: f"must have at most {limit['max_length']} entries",
}


async def read_json(request: Request, *, limit: int, seconds: float = BODY_SECONDS) -> Any:
    """Return the parsed body of ``request``, at most ``limit`` bytes of it.

    Raises ``UnsupportedMediaType`` (so that no web page can post here without a preflight),
    ``BodyTooLarge`` as soon as that is known, ``RequestTimeout`` when that takes
    longer than ``seconds``, more by so much for each MiB that ``limit`` allows,
    ``InvalidRequest`` for what is not JSON, and Starlette's ``ClientDisconnect``.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise UnsupportedMediaType
    check_declared_length(request, limit)
    body = bytearray()
    try:
        async with asyncio.timeout(seconds * (1 + limit // 2**20)):
            async for part in request.stream():
                body += part
                if len(body) > limit:
                    raise BodyTooLarge
    except TimeoutError as error:
        raise RequestTimeout from error
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise InvalidRequest(f"The body is not valid JSON ({place}).", cause=str(error)) from error


def check_declared_length(request: Request, limit: int) -> None:
    """Raise ``BodyTooLarge`` when ``Content-Length`` says so, ``InvalidRequest`` if it is odd."""
    declared = request.headers.get("content-length", "0")
    if not (declared.isascii() and declared.isdecimal()):
        raise InvalidRequest("Content-Length must be a number.")
    if len(declared) > _DIGITS or int(declared) > limit:
        raise BodyTooLarge


def validated(model: type[Model], value: Any) -> Model:
    """Return ``value`` as ``model``; raise ``Unprocessable`` naming the first wrong field.

    The sentence is ours: end users may read it, and pydantic's speak of Python.
    """
    if not isinstance(value, dict):
        raise Unprocessable("The body must be a JSON object.")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise Unprocessable(_sentence(first), cause=str(first["msg"])) from error


def _sentence(error: ErrorDetails) -> str:
    """Return which field is wrong, and what it must be."""
    place = [str(part) for part in error["loc"] if part != "[key]"]
    limits = error.get("ctx", {})
    if len(place) > 1 and place[-1] in _SCALARS:
        return f"{_field(place[:-1])} must be text, a number, true or false."
    if error["type"] == "value_error":  # raised by a validator of ours
        return f"{_field(place)}: {limits['error']}."
    predicate = _PREDICATES.get(error["type"])
    return f"{_field(place)} {predicate(limits) if predicate else 'is not valid'}."


def _field(place: list[str]) -> str:
    name = ".".join(place) or "The body"
    return name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…"
