"""``orbit doctor`` of what several servers share: PostgreSQL and Redis."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orbit_server.auth.keys import Keys

from ...support import postgres, redis
from ...support.configuration import mistake
from ...support.program import configure
from .test_checks import doctor, free, one

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.process,
    pytest.mark.skipif(
        bool(postgres.missing() or redis.missing()),
        reason=f"needs Debian's package {postgres.missing() or redis.missing()}",
    ),
]


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    with postgres.postgres() as port:
        yield port


def url(port: int, user: str = "orbit") -> str:
    return f"postgresql+asyncpg://{user}:secret@127.0.0.1:{port}/orbit?ssl=disable"


async def sql(port: int, *statements: str) -> None:
    async with Keys(url(port)) as keys, keys.database.transaction() as connection:
        for statement in statements:
            await connection.exec_driver_sql(statement)


async def test_postgresql(tmp_path: Path, server: int) -> None:
    """Its version; rights that are missing, a schema of a newer program, a server that is gone."""
    configure(tmp_path, **free(), database={"url": url(server)})
    _, found = await doctor(tmp_path)
    assert one(found, "keys", "are kept in PostgreSQL")["status"] == "ok"
    await sql(
        server,
        "CREATE ROLE reader LOGIN PASSWORD 'secret'",
        "GRANT SELECT, UPDATE ON api_keys, installation_secrets, schema_versions TO reader",
    )
    configure(tmp_path, **free(), database={"url": url(server, "reader")})
    code, found = await doctor(tmp_path)
    finding = one(found, "keys", "lacks: INSERT on api_keys, DELETE on api_keys")
    assert (code, finding["status"]) == (1, "fail")
    assert "secret" not in str(found).replace("installation_secrets", "").replace("secrets", "")
    await sql(server, "INSERT INTO schema_versions VALUES (999, now())")
    configure(tmp_path, **free(), database={"url": url(server)})
    _, found = await doctor(tmp_path)
    assert one(found, "keys", "schema 999 of a newer version")["status"] == "fail"


async def test_redis(tmp_path: Path) -> None:
    """It can be used, is full, or is gone; its password is not shown."""
    with redis.redis_server() as running:
        configure(tmp_path, **free(), limits={"storage": running.url})
        _, found = await doctor(tmp_path)
        assert one(found, "limits", "counted in Redis at 127.0.0.1")["status"] == "ok"
        running.command("CONFIG", "SET", "maxmemory", "1")
        _, found = await doctor(tmp_path)
        assert one(found, "limits", "it is full")["status"] == "fail"
    code, found = await doctor(tmp_path)
    assert (code, one(found, "limits", "cannot be reached")["status"]) == (1, "fail")
    assert redis.PASSWORD not in str(found)


def test_what_is_no_redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake of the configuration, which does not repeat what was written."""
    monkeypatch.chdir(tmp_path)
    said: Any = mistake("limits: {storage: 'http://:pass-word@h'}")
    assert "limits.storage" in said and "pass-word" not in said
