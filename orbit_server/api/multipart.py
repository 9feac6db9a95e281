"""Reading files out of a ``multipart/form-data`` body, onto the disk, within limits.

Starlette's own form parser keeps up to 1 MiB of each file in memory and knows no limit of all of
them together. What a client calls a file never gets to the file system: on disk they are numbered.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import python_multipart
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.requests import Request

from ..documents.finishing import finished
from ..documents.readers.read import MAX_BYTES
from ..documents.uploaded import ReceivedFile
from ..errors import (
    BodyTooLarge,
    InvalidRequest,
    OrbitError,
    RequestTimeout,
    Unprocessable,
    UnsupportedMediaType,
)
from .json_body import check_declared_length


@dataclass(frozen=True, slots=True)
class FormLimits:
    """How much a form may hold, in bytes and parts, and how many seconds nothing may come of it."""

    body: int = 1024 * 1024 * 1024
    file: int = MAX_BYTES
    field: int = 4096
    header: int = 16 * 1024
    files: int = 1000
    fields: int = 64
    silence: float = 30.0


@dataclass(slots=True)
class Form:
    """The files and the fields of a form, in their order."""

    files: list[ReceivedFile] = field(default_factory=list)
    fields: dict[str, list[str]] = field(default_factory=dict)


async def read_form(
    request: Request,
    folder: Path,
    *,
    ending: Callable[[str], str | None],
    limits: FormLimits,
) -> Form:
    """Return the form in the body of ``request``, with its files in ``folder``.

    ``ending`` returns the ending that a file of this name gets on disk, ``None`` when it is not
    wanted. Raises ``UnsupportedMediaType``, ``BodyTooLarge`` as soon as that is known,
    ``RequestTimeout`` when nothing comes for some time, ``InvalidRequest`` for what is no whole
    form, ``Unprocessable`` for too many parts, ``OrbitError`` where the disk is full, and
    Starlette's ``ClientDisconnect``.
    """
    media_type, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if media_type != b"multipart/form-data" or not boundary:
        raise UnsupportedMediaType("Send the files as multipart/form-data.")
    check_declared_length(request, limits.body)
    parts = _Parts(folder, ending, limits)
    try:
        parser = python_multipart.MultipartParser(
            boundary, parts.callbacks(), max_header_size=limits.header
        )
        await _feed(request, parser, parts, limits)
        parser.finalize()
    except FormParserError as error:
        raise InvalidRequest("The body is not a valid form.", cause=str(error)) from error
    except TimeoutError as error:
        raise RequestTimeout from error
    except OSError as error:
        raise OrbitError(
            f"The files cannot be kept in {folder}: {error.strerror}. Free space there, or set"
            " TMPDIR to a folder with more."
        ) from error
    if not parts.ended:
        raise InvalidRequest("The form is cut short.")
    return parts.form


async def _feed(
    request: Request, parser: python_multipart.MultipartParser, parts: "_Parts", limits: FormLimits
) -> None:
    received = 0
    stream = request.stream()
    while True:
        async with asyncio.timeout(limits.silence):
            data = await anext(stream, None)
        if data is None:
            return
        received += len(data)
        if received > limits.body:
            raise BodyTooLarge
        parser.write(data)
        if parts.unwritten:
            # A disk may be slow, and all answers wait for this loop.
            await finished(asyncio.to_thread(_write, parts.unwritten))
            parts.unwritten = []


def _write(unwritten: Sequence[tuple[Path, bytes]]) -> None:
    for path, data in unwritten:
        with path.open("ab") as file:
            file.write(data)


class _Parts:
    """What the parser finds, part by part."""

    def __init__(
        self, folder: Path, ending: Callable[[str], str | None], limits: FormLimits
    ) -> None:
        self.form = Form()
        self.unwritten: list[tuple[Path, bytes]] = []
        self.ended = False
        self._folder = folder
        self._ending = ending
        self._limits = limits
        self._count = 0  # of fields
        self._begin()

    def callbacks(self) -> Any:
        """Return what the parser calls."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._data,
            "on_part_end": self._part_end,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._name = self._value = b""
        self._disposition = b""
        self._field = ""
        self._text = bytearray()
        self._file: ReceivedFile | None = None

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = self._value
        self._name = self._value = b""

    def _headers_finished(self) -> None:
        kind, options = parse_options_header(self._disposition)
        if kind != b"form-data" or b"name" not in options:
            raise InvalidRequest("A part of the form has no name.")
        self._field = _decoded(options[b"name"])
        if b"filename" not in options:
            self._count += 1
            if self._count > self._limits.fields:
                raise Unprocessable(f"The form has more than {self._limits.fields} fields.")
            return
        files = self.form.files
        if len(files) == self._limits.files:
            raise Unprocessable(f"The form has more than {self._limits.files} files.")
        self._file = ReceivedFile(_decoded(options[b"filename"]))
        if (ending := self._ending(self._file.name)) is not None:
            self._file.path = self._folder / f"{len(files) + 1}{ending}"
            self._file.path.touch(mode=0o600)
        files.append(self._file)

    def _data(self, data: bytes, start: int, end: int) -> None:
        file = self._file
        if file is None:
            if len(self._text) + end - start > self._limits.field:
                raise Unprocessable(f"A field is longer than {self._limits.field} bytes.")
            self._text += data[start:end]
            return
        file.size += end - start
        if file.path is None:
            return
        if file.size > self._limits.file:
            path, file.path = file.path, None
            self.unwritten = [part for part in self.unwritten if part[0] != path]
            path.unlink(missing_ok=True)
            return
        self.unwritten.append((file.path, data[start:end]))

    def _part_end(self) -> None:
        if self._file is None:
            self.form.fields.setdefault(self._field, []).append(_decoded(bytes(self._text)))

    def _end(self) -> None:
        self.ended = True


def _decoded(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        return name.decode("latin-1")
