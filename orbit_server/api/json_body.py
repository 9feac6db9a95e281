"""Reading a JSON body once, within a limit, and saying what is wrong with it."""

import asyncio
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
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


async def read_json(request: Request, *, limit: int) -> Any:
    """Return the parsed body of ``request``, at most ``limit`` bytes of it.

    Raises ``UnsupportedMediaType`` (so that no web page can post here without a preflight),
    ``BodyTooLarge`` as soon as that is known, ``RequestTimeout`` when that takes
    longer than ``BODY_SECONDS``, more by so much for each MiB that ``limit`` allows,
    ``InvalidRequest`` for what is not JSON, and Starlette's ``ClientDisconnect``.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise UnsupportedMediaType
    declared = request.headers.get("content-length", "0")
    if not (declared.isascii() and declared.isdecimal()):
        raise InvalidRequest("Content-Length must be a number.")
    if len(declared) > _DIGITS or int(declared) > limit:
        raise BodyTooLarge
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS * (1 + limit // 2**20)):
            async for part in request.stream():
                body += part
                if len(body) > limit:
                    raise BodyTooLarge
    except TimeoutError as error:
        raise RequestTimeout from error
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}") from error


def validated(model: type[Model], value: Any) -> Model:
    """Return ``value`` as ``model``; raise ``Unprocessable`` naming the first wrong field."""
    if not isinstance(value, dict):
        raise Unprocessable("The body must be a JSON object.")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "body"
        raise Unprocessable(f"{where}: {first['msg']}") from error


_DIGITS = 18  # no length has more, and Python refuses to read thousands of them
