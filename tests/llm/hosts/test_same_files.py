"""Which hosts may embed, by the digests of their models."""

import logging

import pytest

from orbit_server.llm.hosts.host import Host
from orbit_server.llm.hosts.same_files import SameFiles
from orbit_server.llm.ollama import Ollama


def host(name: str, digest: str | None) -> Host:
    made = Host(Ollama(f"http://{name}:11434"), weight=1, places=1)
    made.models = {} if digest is None else {"bge-m3:latest": digest}
    return made


def test_the_first_digest_counts_as_long_as_anybody_has_it() -> None:
    """A host that comes later cannot take it over; when nobody has it any more, the next may."""
    a, b = host("a", "1" * 64), host("b", "1" * 64)
    files = SameFiles([a, b], "bge-m3")
    assert files.digest == "1" * 64
    assert files.refused() == []
    a.models = {"bge-m3:latest": "2" * 64}
    assert files.digest == "1" * 64
    (sentence,) = files.refused()
    assert sentence.startswith(
        "bge-m3:latest: a:11434 has different files (222222222222) from b:11434"
    )
    b.models = {"bge-m3:latest": "2" * 64}
    assert files.digest == "2" * 64
    assert files.refused() == []


def test_whether_any_host_embeds() -> None:
    """One that is out does not, nor does one with other files."""
    a, b = host("a", "1" * 64), host("b", "2" * 64)
    files = SameFiles([a, b], "bge-m3")
    assert files.usable()
    a.circuit.failed(silent=True)
    assert not files.usable()


def test_hosts_that_tell_no_digest() -> None:
    """They are taken at their word: all have the model."""
    files = SameFiles([host("a", ""), host("b", ""), host("c", None)], "bge-m3")
    assert files.digest is None
    assert files.usable()
    assert files.refused() == []


def test_the_log_says_it_once(caplog: pytest.LogCaptureFixture) -> None:
    """And again when it was well in between."""
    a, b = host("a", "1" * 64), host("b", "2" * 64)
    files = SameFiles([a, b], "bge-m3")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            files.warn()
        assert len(caplog.records) == 1
        b.models = {}
        files.warn()
        b.models = {"bge-m3:latest": "2" * 64}
        files.warn()
    assert len(caplog.records) == 2
