"""Scanned pages are read where tesseract is installed."""

import asyncio
import io
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont
from reportlab.lib.utils import ImageReader  # type: ignore[import-untyped]
from reportlab.pdfgen.canvas import Canvas  # type: ignore[import-untyped]

from orbit_server.documents.readers.ocr import require
from orbit_server.documents.readers.read import read
from orbit_server.documents.reading import Reading
from orbit_server.errors import OrbitError

from ...support.documents import complaint, texts
from ...support.program import command, configure

OPTIONS = {"chunk_chars": 1000, "chunk_overlap": 0}
needs_tesseract = pytest.mark.skipif(
    shutil.which("tesseract") is None, reason="tesseract-ocr is not installed"
)


def scanned(*pages: str) -> bytes:
    """Return a PDF whose first page is text, and whose others are pictures of text."""
    buffer = io.BytesIO()
    canvas = Canvas(buffer)
    canvas.drawString(72, 700, "This page is text.")
    canvas.showPage()
    font = ImageFont.load_default(size=40)
    for text in pages:
        picture = Image.new("L", (1240, 600), 255)
        ImageDraw.Draw(picture).text((80, 80), text, fill=0, font=font)
        canvas.drawImage(ImageReader(picture), 0, 400, 595, 288)
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


@needs_tesseract
def test_the_text_of_scanned_pages_is_recognized(tmp_path: Path) -> None:
    """Each stands on its page; an empty picture is named."""
    path = tmp_path / "a.pdf"
    path.write_bytes(scanned("The dog licence costs twenty euros.", "", "Pay at the town hall."))
    found = read(path, "a.pdf", ocr_languages=[], **OPTIONS)  # type: ignore[arg-type]
    assert [(chunk.metadata["page"], chunk.text) for chunk in found.chunks] == [
        (1, "This page is text."),
        (2, "The dog licence costs twenty euros."),
        (4, "Pay at the town hall."),
    ]
    assert list(found.notes) == [
        "No text on page 3 of 4: nothing was recognized.",
        "Text was recognized on pages 2, 4 of 4.",
    ]


def test_without_it_scanned_pages_are_named(tmp_path: Path) -> None:
    """The note says how they can be read."""
    path = tmp_path / "a.pdf"
    path.write_bytes(scanned("One.", "Two.", "Three."))
    found = read(path, "a.pdf", **OPTIONS)  # type: ignore[arg-type]
    assert texts(found.chunks) == ["This page is text."]
    assert list(found.notes) == ["No text on pages 2–4 of 4: scanned? --ocr reads them."]


def test_a_pdf_of_pictures_says_what_to_do(tmp_path: Path) -> None:
    """Nothing else of it can be loaded."""
    buffer = io.BytesIO()
    canvas = Canvas(buffer)
    canvas.rect(72, 72, 300, 300, fill=1)
    canvas.save()
    assert "--ocr" in complaint(tmp_path, "a.pdf", buffer.getvalue())


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The program, or its data for a language, with the package to install."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OrbitError, match="apt install tesseract-ocr"):
        require(["de"])


@needs_tesseract
def test_missing_data_is_named_before_anything_is_read() -> None:
    """Of a language that nobody installs for these tests."""
    with pytest.raises(OrbitError, match=r"no data for hin .*apt install tesseract-ocr-hin"):
        require(["en", "hi"])


@needs_tesseract
@pytest.mark.anyio
@pytest.mark.process
async def test_the_command_reads_scanned_pages(tmp_path: Path) -> None:
    """In a process with limits of its own, which tesseract shares."""
    configure(tmp_path)
    (tmp_path / "a.pdf").write_bytes(scanned("The dog licence costs twenty euros."))
    load = ("ingest", "a.pdf", "--collection", "town", "--ocr")
    result = await command(tmp_path, *load, "--language", "hi")
    assert (result.code, "tesseract-ocr-hin" in result.err) == (1, True)
    result = await command(tmp_path, *load)
    assert (result.code, "recognized on page 2 of 2" in result.out) == (0, True), result


@pytest.mark.anyio
@pytest.mark.process
async def test_recognition_ends_with_its_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A program that takes too long does not outlive the reading that started it."""
    started = tmp_path / "started"
    started.mkdir()
    program = tmp_path / "tesseract"
    # Its name is its process id, since it may write no byte.
    program.write_text(f"#!/bin/sh\n: > {started}/$$\nexec sleep 600\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    path = tmp_path / "a.pdf"
    path.write_bytes(scanned("The dog licence costs twenty euros."))
    async with Reading(1, seconds=600) as reading:
        task = asyncio.create_task(reading.read(path, "a.pdf", ocr_languages=[], **OPTIONS))
        await asyncio.to_thread(until, lambda: any(started.iterdir()))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    (running,) = started.iterdir()
    until(lambda: has_ended(running.name))


def until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    """Return when ``holds`` is true, which must be soon."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def has_ended(pid: str) -> bool:
    """Tell whether a process has ended; it may wait to be collected."""
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return True
