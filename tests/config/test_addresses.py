"""Hosts, URLs and other addresses: how they may be written, and what becomes of them."""

import pytest

from orbit_server.config.addresses import (
    database_url,
    host_name,
    limits_storage,
    masked,
    origin,
    sqlite_file,
)

from ..support.configuration import mistake, read


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("sqlite:///orbit.db", "sqlite+aiosqlite:///orbit.db"),
        ("sqlite+aiosqlite:////var/orbit.db", "sqlite+aiosqlite:////var/orbit.db"),
        ("postgres://u:p@h/db", "postgresql+asyncpg://u:p@h/db"),
        ("postgresql://h/db?sslmode=require", "postgresql+asyncpg://h/db?ssl=require"),
        ("postgresql+asyncpg://h/d?a=b&sslmode=x", "postgresql+asyncpg://h/d?a=b&ssl=x"),
    ],
)
def test_database(written: str, meant: str) -> None:
    """As other programs write it, or as SQLAlchemy does; the driver is the one that is tested."""
    assert database_url(written) == meant == database_url(meant)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("memory", "memory"),
        (" redis://h ", "redis://h"),
        ("rediss://user:p%40ss@h:6380/2", "rediss://user:p%40ss@h:6380/2"),
        ("valkey://:p@h", "redis://:p@h"),
        ("valkeys://h/1", "rediss://h/1"),
    ],
)
def test_where_limits_are_counted(written: str, meant: str) -> None:
    """In memory, or in a Redis or Valkey, which speaks the same language."""
    assert limits_storage(written) == meant == limits_storage(meant)


@pytest.mark.parametrize("written", ["redis", "redis://", "http://h", "redis://h:0", "redis://h x"])
def test_where_limits_cannot_be_counted(written: str) -> None:
    """Everything else."""
    with pytest.raises(ValueError):
        limits_storage(written)


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("sqlite+aiosqlite:///data/orbit.db", "data/orbit.db"),
        ("sqlite+aiosqlite:////var/orbit.db?timeout=5", "/var/orbit.db"),
        ("sqlite+aiosqlite:///:memory:", None),
        ("sqlite+aiosqlite:///file:orbit.db?uri=true", None),
        ("sqlite+aiosqlite://", None),
        ("postgresql+asyncpg://h/db", None),
    ],
)
def test_file_of_a_database(url: str, file: str | None) -> None:
    """Only SQLite has one, and not always."""
    assert sqlite_file(url) == file


def test_hosts_and_origins() -> None:
    """Addresses of both kinds; a slash at the end of an origin is no part of it."""
    assert [host_name(name) for name in ("::1", "10.0.0.1", " h_1.example ")] == [
        "::1",
        "10.0.0.1",
        "h_1.example",
    ]
    assert [origin(text) for text in ("*", "https://a.example:8443/")] == [
        "*",
        "https://a.example:8443",
    ]


def test_passwords_in_urls_are_masked() -> None:
    """User, password and query go, wherever in a text the URL stands."""
    assert masked("see https://u:p@h/x?key=k now") == "see https://***@h/x?*** now"
    assert masked("nothing: here?") == "nothing: here?"


@pytest.mark.parametrize("behind", ["/api", "/v1", "/v1/", "/ollama/api", "/api/chat"])
def test_what_ollama_has_behind_its_address(behind: str) -> None:
    """Copied from a client's settings it would end in requests to /api/api/chat."""
    said = mistake(f"ollama: {{base_url: 'http://localhost:11434{behind}'}}")
    assert said.endswith("http://localhost:11434, without /api or /v1 at the end")


@pytest.mark.parametrize("written", ["/orbit", "/orbit/", "/a/b"])
def test_root_path(written: str) -> None:
    """A slash at its end is taken off."""
    assert read(f"general: {{root_path: {written}}}").general.root_path == written.rstrip("/")
    assert read("general: {root_path: ''}").general.root_path is None
    for wrong in ("orbit", "/", "//a", "/a b", "/a?b", "http://h/a"):
        assert "it must be a path such as /orbit" in mistake(f"general: {{root_path: '{wrong}'}}")
