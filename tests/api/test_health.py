"""``/health`` and its kin: what each part says, who may know more, and what load balancers read."""

import asyncio
import shutil
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from orbit_server import __version__
from orbit_server.app import create_app
from orbit_server.observability.chatlog import ChatLog
from orbit_server.observability.health import Check, Health, chatlog_check, disk_check
from orbit_server.services import Services
from tests.support import asgi, ollama_standin
from tests.support.chat_server import town
from tests.support.elasticsearch_standin import ElasticsearchStandIn, Hang, Refuse
from tests.support.ollama_standin import BUSY, RUNNER_STOPPED, OllamaStandIn
from tests.support.server import ADMIN_TOKEN, Running, configuration, lexical, running

pytestmark = pytest.mark.anyio

ADMIN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}


async def get(server: Running, path: str, **headers: str) -> tuple[int, Any]:
    """Return the status and the JSON of a GET, after a fresh look at all parts."""
    server.services.health.forget()
    async with (
        aiohttp.ClientSession() as http,
        http.get(server.url + path, headers=headers) as response,
    ):
        return response.status, await response.json()


def damage(path: Path, start: int) -> None:
    """Write nonsense over what a file holds from ``start`` on, as a bad disk does."""
    with path.open("r+b") as file:
        size = file.seek(0, 2)
        file.seek(start)
        file.write(b"\xa5" * (size - start))


async def damage_chroma(server: Running, folder: Path) -> None:
    """Damage the pages that every collection needs."""
    damage(folder / "chroma" / "chroma.sqlite3", 8192)


async def remove_chroma(server: Running, folder: Path) -> None:
    """Delete the file that is open."""
    (folder / "chroma" / "chroma.sqlite3").unlink()


async def damage_keys(server: Running, folder: Path) -> None:
    """Damage pages of keys, not the first one."""
    for _ in range(60):
        await server.services.keys.create("town", client_name="x" * 200)
    with closing(sqlite3.connect(folder / "orbit.db")) as keys:
        keys.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    damage(folder / "orbit.db", 4 * 4096)


async def remove_keys(server: Running, folder: Path) -> None:
    """Delete the file that is open."""
    (folder / "orbit.db").unlink()


async def empty_chroma(server: Running, folder: Path) -> None:
    """Take a collection away behind the server's back: its records, not its name."""
    with closing(sqlite3.connect(folder / "chroma" / "chroma.sqlite3")) as chroma, chroma:
        chroma.execute("DELETE FROM segments")


@pytest.mark.parametrize(
    ("part", "breaks"),
    [
        ("chroma", damage_chroma),
        ("chroma", remove_chroma),
        ("chroma", empty_chroma),
        ("keys", damage_keys),
        ("keys", remove_keys),
    ],
)
async def test_ok_means_that_questions_are_answered(
    tmp_path: Path, part: str, breaks: Callable[[Running, Path], Awaitable[None]]
) -> None:
    """Files that are damaged or gone are an error before the first chat fails because of them."""
    async with running(lexical(tmp_path)) as server:
        await server.pairs("town", {f"Question {number}?": "Answer." for number in range(50)})
        await breaks(server, tmp_path)
        said = (await get(server, "/health"))[1]
        assert (said["status"], said["components"][part]["status"]) == ("error", "error")
        assert (await get(server, "/health/ready"))[0] == 503


async def test_a_single_collection_that_cannot_be_searched(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is named to the operator and in the log; the others go on being asked."""
    async with running(lexical(tmp_path)) as server:
        for name in ("town", "village"):
            await server.pairs(name, {f"Question {number}?": "Answer." for number in range(50)})
        village = await server.services.chroma.collection("village")
        with closing(sqlite3.connect(tmp_path / "chroma" / "chroma.sqlite3")) as chroma, chroma:
            chroma.execute("DELETE FROM segments WHERE collection = ?", [village.id])
        said = (await get(server, "/health"))[1]
        assert said["status"] == "error"
        assert said["components"]["chroma"] == {
            "status": "error",
            "error": "a collection cannot be searched",
        }
        assert (await get(server, "/health/ready"))[0] == 200
        assert "collection village cannot be searched" in caplog.text
        said = (await get(server, "/health?verbose", **ADMIN))[1]
        assert list(said["failing_collections"]) == ["village"]
        await server.services.store.drop("village")
        assert (await get(server, "/health"))[1]["status"] == "ok"


async def test_words_in_elasticsearch(tmp_path: Path) -> None:
    """While it is away questions are answered, and health says so without being an error."""
    async with ElasticsearchStandIn() as elastic:
        config = lexical(
            tmp_path, retrieval__words="elasticsearch", elasticsearch__node=elastic.url
        )
        async with running(config) as server:
            await server.pairs("town", {"When is the pool open?": "In summer."})
            assert "words" not in (await get(server, "/health"))[1]["components"]
            elastic.outage = Hang()
            said = (await get(server, "/health"))[1]
            assert said["components"]["words"]["status"] == "unavailable"
            elastic.outage = None
            await elastic.kill()
            said = (await get(server, "/health"))[1]
            warning = "questions are answered by meaning alone"
            assert said["components"]["words"] == {"status": "unavailable", "warning": warning}
            assert said["status"] == "ok"
            assert (await get(server, "/health/ready"))[0] == 200
            found = await server.services.store.search("town", "When is the pool open?")
            assert [passage.answer for passage in found] == ["In summer."]
            await elastic.start()
            assert "words" not in (await get(server, "/health"))[1]["components"]


async def test_a_word_index_that_is_damaged(tmp_path: Path) -> None:
    """It is a warning until it is mended: questions are answered, in a worse order."""
    async with running(lexical(tmp_path)) as server:
        await server.pairs("town", {f"Question {number}?": "Answer." for number in range(50)})
        mender = server.services.retrieval.mender
        mender.incomplete["town"] = "20 of 50 passages"
        _, said = await get(server, "/health/ready?verbose")
        warning = "a collection is searched by meaning alone"
        assert said["status"] == "ok"
        assert said["components"]["chroma"] == {"status": "ok", "warning": warning}
        _, said = await get(server, "/health?verbose", **ADMIN)
        assert said["incomplete_word_indexes"] == {"town": "20 of 50 passages"}
        while (await mender.reindex("town")).done < 50:
            pass
        assert "warning" not in (await get(server, "/health"))[1]["components"]["chroma"]


async def test_the_model_of_the_safety_check(tmp_path: Path) -> None:
    """Where it is not installed, no question gets through: that is an error."""
    async with OllamaStandIn() as ollama:
        safety = {"safety__mode": "strict", "safety__model": "llama-guard3:8b"}
        async with running(
            configuration(tmp_path, ollama__base_url=ollama.url, **safety)
        ) as server:
            said = (await get(server, "/health"))[1]
            assert said["status"] == "error"
            assert said["components"]["safety"] == {
                "provider": "ollama",
                "model": "llama-guard3:8b",
                "status": "error",
                "error": "model not installed",
            }
            ollama.models["llama-guard3:8b"] = ["completion"]
            assert (await get(server, "/health"))[1]["status"] == "ok"


async def test_a_model_that_fails_with_every_question(tmp_path: Path) -> None:
    """It is installed, and nobody gets an answer: an error, until somebody does."""
    async with town(tmp_path) as there, there.with_ollama():
        assert (await get(there.server, "/health"))[1]["status"] == "ok"
        there.ollama.fault = RUNNER_STOPPED
        for _ in range(3):
            await there.ask()
        said = (await get(there.server, "/health"))[1]
        assert said["status"] == "error"
        assert said["components"]["llm"]["error"] == "answers fail"
        there.ollama.fault = None
        assert (await there.ask()).text
        assert (await get(there.server, "/health"))[1]["status"] == "ok"


async def test_a_full_disk(tmp_path: Path) -> None:
    """No room is an error, and is not mentioned otherwise; a folder may not be there yet."""
    folders = [tmp_path, tmp_path / "later" / "data"]
    assert not await disk_check(folders).test()
    assert await disk_check(folders, least=1 << 60).test() == {"status": "error", "error": "full"}


async def test_a_check_that_hangs_is_not_made_twice() -> None:
    """It is an error for as long as it hangs, and holds up no caller for long."""
    made = 0
    goes_on = asyncio.Event()

    def ignore(*_: Any, **__: Any) -> None:
        pass

    async def hang() -> None:
        nonlocal made
        made += 1
        await goes_on.wait()

    async with Health({"it": Check(hang)}, note=ignore, check_seconds=0.01) as health:
        for _ in range(3):
            health.forget()
            assert (await health())["components"]["it"]["error"] == "unreachable"
        assert made == 1
        goes_on.set()
        await asyncio.sleep(0)
        health.forget()
        assert (await health())["status"] == "ok"


async def test_without_any_trouble(tmp_path: Path) -> None:
    """Every part is named; Elasticsearch that nobody wants is no error."""
    async with running(lexical(tmp_path)) as server:
        status, said = await get(server, "/health")
        assert (status, said["status"]) == (200, "ok")
        assert {name: part["status"] for name, part in said["components"].items()} == {
            "server": "ok",
            "chroma": "ok",
            "keys": "ok",
            "logs": "ok",
            "elasticsearch": "disabled",
            "llm": "ok",
            "embedding": "ok",
        }
        assert await get(server, "/health/ready") == (200, said)
        assert await get(server, "/health/live") == (200, {"status": "ok"})


def break_logs(services: Services) -> None:
    class Full(ChatLog):
        lost, failing = 3, "[Errno 28] No space left on device"

        def __init__(self) -> None:
            pass

    services.health.checks["logs"] = chatlog_check(Full())


def break_keys(services: Services) -> None:
    async def ping() -> None:
        from orbit_server.errors import KeysUnavailable

        raise KeysUnavailable("secret.example:5432 is gone")

    services.health.checks["keys"] = Check(ping)


def break_chroma(services: Services) -> None:
    async def heartbeat() -> None:
        from orbit_server.errors import SearchUnavailable

        raise SearchUnavailable("secret.example:8000 is gone")

    services.health.checks["chroma"] = Check(heartbeat)


@pytest.mark.parametrize(
    ("part", "breaks", "state"),
    [
        ("logs", break_logs, {"status": "error", "error": "cannot be written", "lost": 3}),
        ("keys", break_keys, {"status": "error", "error": "unreachable"}),
        ("chroma", break_chroma, {"status": "error", "error": "unreachable"}),
    ],
)
async def test_trouble(
    tmp_path: Path, part: str, breaks: Callable[[Services], None], state: dict[str, Any]
) -> None:
    """One part in trouble: 200 for people, 503 for load balancers, life goes on; no causes."""
    async with running(lexical(tmp_path)) as server:
        breaks(server.services)
        status, said = await get(server, "/health")
        assert (status, said["status"]) == (200, "error")
        assert said["components"].pop(part) == state
        assert "error" not in {other["status"] for other in said["components"].values()}
        status, again = await get(server, "/health/ready")
        assert (status, again["status"]) == (503, "error")
        assert (await get(server, "/health/live"))[0] == 200
        assert "secret" not in str(again) and "Errno" not in str(again)


@pytest.mark.parametrize(("known", "shown"), [("enabled", "ok"), ("unavailable", "unavailable")])
async def test_elasticsearch_is_not_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: str, shown: str
) -> None:
    """While it is away the server is as ready as ever: the files have everything."""
    monkeypatch.setattr(Services, "elasticsearch_status", property(lambda _: known))
    async with running(lexical(tmp_path)) as server:
        status, said = await get(server, "/health/ready")
        assert (status, said["status"]) == (200, "ok")
        assert said["components"]["elasticsearch"]["status"] == shown


async def test_rejected_records_are_counted(tmp_path: Path) -> None:
    """What Elasticsearch does not take is no trouble for chats, and is not hidden either."""
    async with (
        ElasticsearchStandIn() as elastic,
        town(tmp_path, elasticsearch__enabled=True, elasticsearch__node=elastic.url) as there,
    ):
        elastic.refuse = lambda identity, source: Refuse(400, "mapper_parsing_exception", "no")
        for _ in range(3):
            assert (await there.ask()).text
        shipper = there.server.services.shipper
        assert shipper is not None
        async with asyncio.timeout(20):
            while shipper.rejected() < 4 or not shipper.cause.startswith("it rejects"):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        _, said = await get(there.server, "/health/ready")
        assert said["status"] == "ok"
        component = said["components"]["elasticsearch"]
        assert component["status"] == "unavailable" and component["rejected"] >= 4


async def test_a_chat_log_that_cannot_be_written(tmp_path: Path) -> None:
    """The answer comes, the loss is told and counted, and the operator learns why."""
    folder = tmp_path / "logs"
    async with town(tmp_path, logging__file__directory=str(folder)) as there:
        shutil.rmtree(folder)
        folder.touch()
        assert (await there.ask()).text
        there.server.wait_for_log()
        _, said = await get(there.server, "/health?verbose", **ADMIN)
        assert 1 <= said["components"]["logs"]["lost"] <= said["chatlog"]["lost"]
        assert "logs" in said["chatlog"]["failing"]
        there.server.wait_for_log()  # that it fails was to be written down, too
        lost = there.server.services.chatlog.lost
        folder.unlink()
        assert (await there.ask()).text
        there.server.wait_for_log()
        _, said = await get(there.server, "/health?verbose", **ADMIN)
        assert said["components"]["logs"] == {"status": "ok", "lost": lost}
        there.server.wait_for_log()
        _, said = await get(there.server, "/health?verbose", **ADMIN)
        assert said["chatlog"] == {"waiting": 0, "lost": lost, "failing": None}


async def test_what_happened_to_the_server_is_in_the_log(tmp_path: Path) -> None:
    """Start, stop, parts that break and recover, and every failure with its cause."""
    async with town(tmp_path) as there:
        health = there.server.services.health
        async with there.with_ollama():
            there.ollama.fault = BUSY
            assert (await there.ask()).status == 503
            health.forget()
            await health()
        health.forget()
        await health()
        server = there.server
    records = [record for record in server.records() if record["kind"] != "exchange"]
    assert all(record["id"] and record["timestamp"] for record in records)
    started, failure, *parts, stopped = records
    assert (started["event"], stopped["event"]) == ("started", "stopped")
    assert started["model"] == "gemma3:4b" and started["version"]
    assert (failure["kind"], failure["code"]) == ("error", "model_busy")
    assert "maximum pending requests" in failure["cause"]
    assert {(part["component"], part["status"]) for part in parts} == {
        ("llm", "error"),
        ("embedding", "error"),
    }
    assert "test-admin-token" not in repr(records)


async def test_before_the_services_are_open(tmp_path: Path) -> None:
    """The process lives, and is not ready; opening it is seen at once."""
    app = create_app(lexical(tmp_path))
    assert (await asgi.call(app, "GET", "/health/live")).status == 200
    closed = [await asgi.call(app, "GET", path) for path in ("/health", "/health/ready")]
    assert [(each.status, each.json()["status"]) for each in closed] == [
        (200, "error"),
        (503, "error"),
    ]
    async with app.router.lifespan_context(app):
        assert (await asgi.call(app, "GET", "/health/ready")).status == 200


async def test_verbose_is_for_the_operator(tmp_path: Path) -> None:
    """Versions, models and sizes for the admin token; 401 without it, 403 where there is none."""
    async with OllamaStandIn() as ollama:
        config = configuration(tmp_path, ollama__base_url=ollama.url)
        async with running(config) as server:
            await server.pairs("town", {"When?": "At nine.", "Where?": "Here."})
            status, said = await get(server, "/health?verbose", **ADMIN)
            assert (status, said["status"]) == (200, "ok")
            chroma = said["versions"].pop("chroma")
            assert chroma.count(".") == 2
            assert said["versions"] == {"orbit": __version__, "ollama": ollama_standin.VERSION}
            assert said["models"] == ["gemma3:4b", "bge-m3:latest"]
            assert said["collections"] == {"town": 2}
            for headers in ({}, {"Authorization": "Bearer wrong"}, await server.key("town")):
                status, said = await get(server, "/health?verbose=true", **headers)
                assert (status, said["code"]) == (401, "invalid_admin_token")
            status, said = await get(server, "/health", **ADMIN)
            assert (status, said.keys()) == (200, {"status", "components"})
            await ollama.kill()
            status, said = await get(server, "/health?verbose", **ADMIN)
            assert (status, said["models"], said["versions"]["ollama"]) == (200, None, None)
    nobody = create_app(lexical(tmp_path).model_copy(update={"admin_token": None}))
    refused = await asgi.call(nobody, "GET", "/health?verbose", list(ADMIN.items()))
    assert (refused.status, refused.json()["code"]) == (403, "forbidden")


async def test_verbose_without_ollama(tmp_path: Path) -> None:
    """What is not used is not asked."""
    async with running(lexical(tmp_path)) as server:
        _, said = await get(server, "/health?verbose", **ADMIN)
        assert (said["models"], said["versions"]["ollama"], said["collections"]) == (None, None, {})


async def test_keys_before_health(tmp_path: Path) -> None:
    """With ``api_keys.require_for_health``: ready like health, the operator and life without."""
    async with running(lexical(tmp_path, api_keys__require_for_health=True)) as server:
        key = await server.key("town")
        for path in ("/health", "/health/ready"):
            assert (await get(server, path))[0] == 401
            assert (await get(server, path, **key))[0] == 200
        assert (await get(server, "/health?verbose", **key))[0] == 401
        assert (await get(server, "/health?verbose", **ADMIN))[0] == 200
        assert (await get(server, "/health?verbose", **ADMIN, **key))[0] == 200
        assert (await get(server, "/health/live"))[0] == 200


async def test_an_old_ollama_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers, so all is well, but the operator should update it."""
    async with (
        OllamaStandIn() as ollama,
        running(configuration(tmp_path, ollama__base_url=ollama.url)) as server,
    ):
        assert "ollama" not in (await get(server, "/health"))[1]["components"]
        monkeypatch.setattr(ollama_standin, "VERSION", "0.16.3")
        status, said = await get(server, "/health/ready")
        assert (status, said["status"]) == (200, "ok")
        assert said["components"]["ollama"]["status"] == "ok"
        warning = said["components"]["ollama"]["warning"]
        assert "0.16.3" in warning and "security" in warning
