"""The checkpoint: which lines of the chat log are unsent, in whatever process asks."""

from pathlib import Path

import pytest

from orbit_server.observability.checkpoint import Checkpoint

LOG = "chat-2026-03-01.log"


def checkpoint(folder: Path, *, lines: int = 2, torn_seconds: float = 60.0) -> Checkpoint:
    """Return a checkpoint that sends lines as they are, and refuses those that begin with ``!``."""

    def encode(line: bytes) -> bytes:
        if line.startswith(b"!"):
            raise ValueError("it begins with !")
        return line

    return Checkpoint(
        folder,
        folder / "data" / "c.json",
        encode=encode,
        batch_lines=lines,
        batch_bytes=1000,
        torn_seconds=torn_seconds,
    )


def test_batches_until_all_is_sent(tmp_path: Path) -> None:
    """A batch is read again until it is committed; a new process goes on behind the last one."""
    log = tmp_path / LOG
    log.write_bytes(b"one\ntwo\n!three\nfour, which is being")
    first = checkpoint(tmp_path)
    assert first.hold()
    batch, again = first.read(log), first.read(log)
    assert batch is not None and batch == again
    assert [line.text for line in batch.lines] == [b"one\n", b"two\n"]
    first.commit(batch)
    first.release()

    second = checkpoint(tmp_path)
    assert second.lag() == (1, log.stat().st_size - 8)
    assert second.hold()
    batch = second.read(log)
    assert batch is not None
    assert (batch.lines, batch.rejected[0].reason) == ([], "it begins with !")
    second.commit(batch)
    assert second.read(log) is None
    assert second.rejected.count() == 1
    assert second.pending(log)  # a line that has no end yet
    assert second.lag()[0] == 0


def test_one_process_holds_it(tmp_path: Path) -> None:
    """Others may read what it stored; availability is what the holder found out itself."""
    holder, other = checkpoint(tmp_path), checkpoint(tmp_path)
    assert (holder.hold(), other.hold()) == (True, False)
    holder.set_availability(True, "")
    assert (other.hold(), other.known().available) == (False, True)
    holder.release()
    assert other.hold()
    assert not other.known().available


def test_batches_are_bounded_by_bytes(tmp_path: Path) -> None:
    """At least one line is in a batch, however long it is."""
    log = tmp_path / LOG
    log.write_bytes(b"%b\n%b\nshort\n" % (b"a" * 1500, b"b" * 990))
    reader = checkpoint(tmp_path, lines=9)
    sizes = []
    while batch := reader.read(log):
        sizes.append([len(line.text) for line in batch.lines])
        reader.commit(batch)
    assert sizes == [[1501], [991, 6]]


@pytest.mark.parametrize(("seconds", "ended"), [(3600.0, False), (-1.0, True)])
def test_a_torn_last_line(tmp_path: Path, seconds: float, ended: bool) -> None:
    """It is left to its writer for a while, and ended after that."""
    log = tmp_path / LOG
    log.write_bytes(b"one\ntorn")
    checkpoint(tmp_path, torn_seconds=seconds).read(log)
    assert log.read_bytes().endswith(b"\n") is ended
