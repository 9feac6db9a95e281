"""Forms are read onto the disk within limits, whatever a client calls its files."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request

from orbit_server.api.multipart import Form, FormLimits, read_form
from orbit_server.documents.uploaded import ending
from orbit_server.errors import (
    BodyTooLarge,
    InvalidRequest,
    OrbitError,
    RequestTimeout,
    Unprocessable,
    UnsupportedMediaType,
)

pytestmark = pytest.mark.anyio

BOUNDARY = "----line"
TYPE = f"multipart/form-data; boundary={BOUNDARY}"
SMALL = FormLimits(body=100_000, file=1000, field=50, files=3, fields=2, silence=5)


def part(content: bytes, name: str = "files", filename: str | None = None) -> bytes:
    """Return a part of a form; ``filename`` as it stands in the quotes."""
    called = "" if filename is None else f'; filename="{filename}"'
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{called}\r\n\r\n'
    return head.encode() + content + b"\r\n"


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


async def read(
    folder: Path,
    body: bytes | Sequence[bytes],
    *,
    limits: FormLimits = SMALL,
    content_type: str = TYPE,
    left: bool = False,
    **headers: str,
) -> Form:
    """Read a form that comes in these pieces; a client that ``left`` sends no end."""
    pieces = [body] if isinstance(body, bytes) else list(body)

    async def messages() -> AsyncIterator[dict[str, Any]]:
        for piece in pieces:
            yield {"type": "http.request", "body": piece, "more_body": True}
        if left:
            yield {"type": "http.disconnect"}
        yield {"type": "http.request", "body": b"", "more_body": False}

    fields = {"content-type": content_type, **headers}
    scope = {
        "type": "http",
        "method": "POST",
        "headers": [(k.replace("_", "-").encode(), v.encode()) for k, v in fields.items()],
    }
    return await read_form(
        Request(scope, messages().__anext__), folder, ending=ending, limits=limits
    )


async def test_files_and_fields_come_in(tmp_path: Path) -> None:
    """Files are on disk under numbers, byte by byte; fields are texts, in their order."""
    body = form(
        part(b"de", "language"),
        part(b"# One\r\n\r\n--" + BOUNDARY.encode()[:5], filename="docs/one.md"),
        part("Grüße".encode(), "prefix"),
        part(b"", filename="two.TXT"),
    )
    for pieces in ([body], [body[n : n + 1] for n in range(len(body))]):
        found = await read(tmp_path, pieces)
        assert found.fields == {"language": ["de"], "prefix": ["Grüße"]}
        one, two = found.files
        assert (one.name, one.size) == ("docs/one.md", 16)
        assert one.path and (one.path.name, one.path.read_bytes()) == (
            "1.md",
            b"# One\r\n\r\n------l",
        )
        assert two.path and (two.name, two.path.name, two.path.read_bytes()) == (
            "two.TXT",
            "2.txt",
            b"",
        )
        one.path.unlink()
        two.path.unlink()


@pytest.mark.parametrize(
    ("filename", "name", "on_disk"),
    [
        ("../../etc/passwd.md", "../../etc/passwd.md", "1.md"),
        ("/etc/cron.d/x.txt", "/etc/cron.d/x.txt", "1.txt"),
        ('a\\\\b \\" c.md', 'a\\b " c.md', "1.md"),
        ("nul\x00.md", "nul\x00.md", "1.md"),
        ("x.md/../../../y.sh", "x.md/../../../y.sh", None),
        ("", "", None),
        ("." * 3000 + ".md", "." * 3000 + ".md", "1.md"),
        ("grüße.md", "grüße.md", "1.md"),
    ],
)
async def test_no_name_of_a_client_is_a_path(
    tmp_path: Path, filename: str, name: str, on_disk: str | None
) -> None:
    """On disk there is a number and one of our own endings; what is not understood is not there."""
    found = await read(tmp_path, form(part(b"text", filename=filename)))
    [file] = found.files
    assert file.name == name
    assert names(tmp_path) == ([on_disk] if on_disk else [])
    assert (file.path and file.path.name) == on_disk


async def test_a_file_that_is_too_large_is_left_out(tmp_path: Path) -> None:
    """It does not stay on the disk, and the others are taken."""
    body = form(part(b"x" * 1001, filename="big.txt"), part(b"x" * 1000, filename="fits.txt"))
    for pieces in ([body], [body[n : n + 100] for n in range(0, len(body), 100)]):
        found = await read(tmp_path, pieces)
        big, fits = found.files
        assert (big.path, big.size) == (None, 1001)
        assert fits.path and fits.path.stat().st_size == 1000
        assert names(tmp_path) == ["2.txt"]
        fits.path.unlink()


@pytest.mark.parametrize(
    ("body", "kind", "says"),
    [
        (b"", InvalidRequest, "cut short"),
        (form(part(b"x", filename="a.md"))[:-20], InvalidRequest, "cut short"),
        (b"nothing of the kind", InvalidRequest, "not a valid form"),
        (form(b"--" + BOUNDARY.encode() + b"\r\n\r\nx\r\n"), InvalidRequest, "no name"),
        (form(part(b"x" * 51, "prefix")), Unprocessable, "longer than 50 bytes"),
        (form(*[part(b"x", f"f{n}") for n in range(3)]), Unprocessable, "more than 2 fields"),
        (
            form(*[part(b"x", filename=f"{n}.md") for n in range(4)]),
            Unprocessable,
            "more than 3 files",
        ),
        (form(part(b"x" * 100_000, filename="a.bin")), BodyTooLarge, "too large"),
        (form(part(b"x", filename="a" * 20_000)), InvalidRequest, "not a valid form"),
    ],
)
async def test_what_is_no_form_is_refused(
    tmp_path: Path, body: bytes, kind: type[OrbitError], says: str
) -> None:
    """With a sentence that says why, and where nothing says beforehand how long it is, at once."""
    with pytest.raises(kind) as caught:
        await read(tmp_path, body)
    assert says in caught.value.detail


@pytest.mark.parametrize(
    "content_type", ["application/json", "multipart/form-data", "text/plain; boundary=x", ""]
)
async def test_other_bodies_are_refused(tmp_path: Path, content_type: str) -> None:
    """The sentence says what to send instead."""
    with pytest.raises(UnsupportedMediaType, match=r"multipart/form-data"):
        await read(tmp_path, b"", content_type=content_type)


async def test_a_declared_length_is_believed(tmp_path: Path) -> None:
    """Nothing is read of what will be too much."""
    with pytest.raises(BodyTooLarge):
        await read(tmp_path, [b"x"], content_length="100001", left=True)


async def test_silence_ends_it(tmp_path: Path) -> None:
    """A client that sends nothing does not hold its files on our disk for ever."""

    async def silent() -> Any:
        await asyncio.Event().wait()

    scope = {"type": "http", "method": "POST", "headers": [(b"content-type", TYPE.encode())]}
    with pytest.raises(RequestTimeout):
        await read_form(
            Request(scope, silent), tmp_path, ending=ending, limits=replace(SMALL, silence=0.01)
        )


async def test_a_full_disk_is_said(tmp_path: Path) -> None:
    """The operator reads what to do, instead of a traceback in the log."""
    (tmp_path / "1.md").symlink_to("/dev/full")
    with pytest.raises(OrbitError, match=r"No space left .* TMPDIR"):
        await read(tmp_path, form(part(b"x", filename="a.md")))


async def test_a_client_may_leave(tmp_path: Path) -> None:
    """What it had begun is no form."""
    with pytest.raises(ClientDisconnect):
        await read(tmp_path, form(part(b"x", filename="a.md"))[:-10], left=True)
