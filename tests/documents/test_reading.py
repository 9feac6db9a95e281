"""Files are read in processes of their own, which they may break, and nothing else."""

import asyncio
import io
import os
import signal
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reportlab.pdfgen.canvas import Canvas  # type: ignore[import-untyped]

from orbit_server.documents.reading import ReadFile, Reading
from orbit_server.errors import UnreadableDocument

pytestmark = [pytest.mark.process]

OPTIONS = {"chunk_chars": 500, "chunk_overlap": 0}


def pdf(*pages: str) -> bytes:
    buffer = io.BytesIO()
    canvas = Canvas(buffer)
    for text in pages:
        canvas.drawString(72, 700, text)
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def bomb(megabytes: int) -> bytes:
    """Return a small PDF whose page is ``megabytes`` long when it is unpacked."""
    packer = zlib.compressobj(9)
    packed = packer.compress(b"BT /F 12 Tf 72 700 Td (x) Tj ET\n")
    packed += b"".join(packer.compress(b"q Q " * (1 << 18)) for _ in range(megabytes))
    packed += packer.flush()
    head = (
        "%PDF-1.7\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n"
        "2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
        "3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 5 0 R>>endobj\n"
        f"5 0 obj<</Length {len(packed)}/Filter/FlateDecode>>stream\n"
    )
    return head.encode() + packed + b"\nendstream endobj\ntrailer<</Root 1 0 R/Size 6>>\n%%EOF"


async def read(reading: Reading, path: Path) -> ReadFile:
    return await reading.read(path, path.name, **OPTIONS)


async def refusal(reading: Reading, path: Path) -> str:
    with pytest.raises(UnreadableDocument) as caught:
        await read(reading, path)
    return str(caught.value)


def test_a_process_needs_no_more_than_the_readers() -> None:
    """It starts with each load: neither a client nor the configuration is imported for it."""
    script = (
        "import sys, orbit_server.documents.readers.worker;"
        "print({'aiohttp', 'pydantic', 'yaml', 'tantivy', 'pypdfium2'} & set(sys.modules))"
    )
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert printed.stdout == "set()\n", printed.stderr


@pytest.mark.anyio
async def test_many_files_share_a_few_processes(tmp_path: Path) -> None:
    """What comes back is what the reader found, whatever is read beside it."""
    paths = [tmp_path / f"{n}.txt" for n in range(40)]
    for path in paths:
        path.write_text(f"Text {path.stem}.\n\n" * 2000)
    (tmp_path / "a.csv").write_text("question,answer\nq,\nWhere?,Here.\n")
    (tmp_path / "a.txt").write_text("")
    async with Reading(2) as reading:
        found = await asyncio.gather(*(read(reading, path) for path in paths))
        pairs = await read(reading, tmp_path / "a.csv")
        assert await refusal(reading, tmp_path / "a.txt") == "The file is empty."
        assert "such file" in await refusal(reading, tmp_path / "b.txt")
    for path, file in zip(paths, found, strict=True):
        texts = [chunk.text for chunk in file.chunks]
        assert len(texts) == len(file.chunks) > 10
        assert set(" ".join(texts).split()) == {"Text", f"{path.stem}."}
    assert [chunk.metadata["answer"] for chunk in pairs.chunks] == ["Here."]
    assert pairs.left_out == ['The row that ends in line 2 has no text as "answer".']


@pytest.mark.anyio
async def test_a_file_may_not_cost_what_it_likes(tmp_path: Path) -> None:
    """Too much time or memory ends the process, and is one sentence; the next file is read."""
    (tmp_path / "bomb.pdf").write_bytes(bomb(600))
    (tmp_path / "good.pdf").write_bytes(pdf("Text."))
    async with Reading(1, megabytes=500) as reading:
        assert "more than 500 MB of memory" in await refusal(reading, tmp_path / "bomb.pdf")
        assert len((await read(reading, tmp_path / "good.pdf")).chunks) == 1
    async with Reading(1, seconds=0.01) as reading:
        assert "longer than 0.01 seconds" in await refusal(reading, tmp_path / "good.pdf")


@pytest.mark.anyio
async def test_a_process_without_memory_is_replaced(tmp_path: Path) -> None:
    """What it has taken may stay taken, and the files after it would fail too."""
    (tmp_path / "good.txt").write_text("Text.")
    with (tmp_path / "sitemap").open("wb") as large:
        large.truncate(1 << 30)
    async with Reading(1, megabytes=500) as reading:
        with pytest.raises(UnreadableDocument, match="more than 500 MB of memory"):
            await reading.read(tmp_path / "sitemap", "http://a/", reader="sitemap", sites=[])
        assert reading._idle == []
        assert len((await read(reading, tmp_path / "good.txt")).chunks) == 1


@pytest.mark.anyio
async def test_a_process_that_dies_costs_one_file(tmp_path: Path) -> None:
    """Whatever ends it, the others are read."""
    good = tmp_path / "good.txt"
    good.write_text("Text.")
    os.mkfifo(tmp_path / "waits.txt")  # nobody writes into it
    async with Reading(1) as reading:
        await read(reading, good)
        [process] = reading._idle
        waiting = asyncio.create_task(refusal(reading, tmp_path / "waits.txt"))
        await asyncio.sleep(0.1)
        process.send_signal(signal.SIGSEGV)
        assert "The file is broken" in await waiting
        assert len((await read(reading, good)).chunks) == 1
    assert not reading._idle


@pytest.mark.anyio
async def test_secrets_of_the_environment_stay_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a file does to its parser, there is nothing to be had."""
    monkeypatch.setenv("ADMIN_TOKEN", "open-sesame")
    (tmp_path / "a.txt").write_text("Text.")
    async with Reading(1) as reading:
        await read(reading, tmp_path / "a.txt")
        [process] = reading._idle
        environment = Path(f"/proc/{process.pid}/environ").read_bytes()  # noqa: ASYNC240
    assert b"PATH=" in environment and b"open-sesame" not in environment


@pytest.mark.anyio
async def test_who_stops_waiting_stops_the_reading(tmp_path: Path) -> None:
    """A cancelled file leaves no process behind."""
    os.mkfifo(tmp_path / "waits.txt")
    async with Reading(1) as reading:
        started = reading._start
        processes = []

        async def start() -> asyncio.subprocess.Process:
            processes.append(await started())
            return processes[-1]

        reading._start = start  # type: ignore[method-assign]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await read(reading, tmp_path / "waits.txt")
    [process] = processes
    assert process.returncode is not None


def test_damaged_pdfs_are_chunks_or_a_complaint(tmp_path: Path) -> None:
    """A PDF with bytes changed anywhere still ends in passages or in one sentence."""
    whole = pdf("Some text on a page.", "And another.")
    path = tmp_path / "damaged.pdf"
    with asyncio.Runner() as runner:
        reading = Reading(1)

        @settings(deadline=None, max_examples=30)
        @given(st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), max_size=9))
        def check(changes: list[tuple[int, int]]) -> None:
            content = bytearray(whole)
            for index, value in changes:
                content[index] = value
            path.write_bytes(content)
            try:
                assert runner.run(read(reading, path)).chunks
            except UnreadableDocument as error:
                assert str(error).endswith(".")

        check()
        runner.run(reading.__aexit__())
