"""``POST /feedback``: who may rate what, and what is written down."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.chat_server import QUESTION, ChatServer, Reply
from tests.support.chat_server import town as open_town
from tests.support.ollama_standin import Abort
from tests.support.server import ADMIN_TOKEN

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def opened(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ChatServer]:
    """One server for the tests of this file, which redacts addresses of mail."""
    folder = tmp_path_factory.mktemp("feedback")
    async with open_town(
        folder, logging__redact=["email"], chat__max_message_chars=100, answer__condense=False
    ) as town:
        yield town


@pytest.fixture
async def town(opened: ChatServer) -> AsyncIterator[ChatServer]:
    """The server with an Ollama of this test's own."""
    async with opened.with_ollama():
        yield opened


async def rate(
    town: ChatServer, body: Any, *, headers: dict[str, str] | None = None, **more: Any
) -> Reply:
    """Post a rating."""
    async with town.http.post(
        town.server.url + "/feedback",
        json=body,
        headers=town.headers if headers is None else headers,
        **more,
    ) as response:
        return Reply(response.status, response.headers, await response.read())


def feedback(town: ChatServer) -> list[dict[str, Any]]:
    """The ratings in the chat log, oldest first."""
    return [record for record in town.server.records() if record["kind"] == "feedback"]


async def completion_id(town: ChatServer, *, stream: bool) -> str:
    """Ask as a client of OpenAI does; the id of the completion."""
    body = {"model": "t", "messages": [{"role": "user", "content": QUESTION}], "stream": stream}
    async with town.http.post(
        town.server.url + "/v1/chat/completions", json=body, headers=town.headers
    ) as response:
        text = await response.text()
    return text.split('"id":"', 1)[1].split('"', 1)[0]


@pytest.mark.parametrize("shape", ["delta", "cumulative", "whole", "v1 stream", "v1 whole"])
async def test_every_answer_has_an_id(town: ChatServer, shape: str) -> None:
    """It is the one in the log, and what was said about it can be found by it."""
    if shape.startswith("v1"):
        id = await completion_id(town, stream=shape == "v1 stream")
        assert id.startswith("chatcmpl-")
    elif shape == "whole":
        id = (await town.ask(stream=False)).json()["id"]
    else:
        id = (await town.ask(stream_format=shape)).last["id"]
    answered = town.exchange()
    assert answered["answer_id"] == id.removeprefix("chatcmpl-")
    reply = await rate(town, {"id": id, "rating": 1})
    assert (reply.status, reply.json()) == (200, {"status": "ok"})
    record = feedback(town)[-1]
    assert record["answer_id"] == answered["answer_id"]
    assert (record["rating"], record["comment"]) == (1, None)
    for field in ("api_key", "collection", "ip"):
        assert record[field] == answered[field]
    assert record["request_id"] == reply.headers["X-Request-ID"]


async def test_a_comment(town: ChatServer) -> None:
    """It is redacted as questions are; a second rating is a second record."""
    id = (await town.ask()).last["id"]
    before = len(feedback(town))
    assert (await rate(town, {"id": id, "rating": 1, "later": True})).status == 200
    comment = "Wrong: write to ann@town.example"
    assert (await rate(town, {"id": id, "rating": -1, "comment": comment})).status == 200
    first, second = feedback(town)[before:]
    assert (first["answer_id"], first["rating"]) == (second["answer_id"], 1)
    assert second["rating"] == -1
    assert second["comment"].startswith("Wrong: write to ")
    assert "ann@" not in second["comment"]


async def test_answers_that_broke_or_found_nothing(town: ChatServer) -> None:
    """They can be rated too, as small talk can: operators want to hear of these most."""
    town.ollama.fault = [Abort(after=1)]
    for reply in (await town.ask(), await town.ask("qwertz uiopü"), await town.ask("Hello!")):
        assert (await rate(town, {"id": reply.last["id"], "rating": -1})).status == 200


async def test_ids_of_others(town: ChatServer) -> None:
    """Invented ones and those of another key do not exist, and nothing is written."""
    id = (await town.ask()).last["id"]
    before = len(feedback(town))
    other = await town.server.key("town")
    for body, headers in (
        ({"id": id, "rating": 1}, other),
        ({"id": "A" * 28, "rating": 1}, None),
        ({"id": "", "rating": 1}, None),
        ({"id": f"chatcmpl-chatcmpl-{id}", "rating": 1}, None),
        ({"id": id.swapcase(), "rating": 1}, None),
    ):
        reply = await rate(town, body, headers=headers)
        assert (reply.status, reply.json()["code"]) == (404, "not_found")
    assert (await rate(town, {"id": id, "rating": 1}, headers={})).status == 401
    assert len(feedback(town)) == before


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"rating": 0}, "rating must be 1 or -1."),
        ({"rating": True}, "rating must be a whole number."),
        ({"rating": "1"}, "rating must be a whole number."),
        ({"rating": None}, "rating must be a whole number."),
        ({"id": 7}, "id must be text."),
        ({"comment": ["x"]}, "comment must be text."),
        ({"comment": "x" * 101}, "comment must have at most 100 characters."),
    ],
)
async def test_wrong_content(town: ChatServer, change: dict[str, Any], detail: str) -> None:
    """422 with the field and what is allowed."""
    reply = await rate(town, {"id": "A" * 28, "rating": 1, **change})
    assert (reply.status, reply.json()["detail"]) == (422, detail)


async def test_ratings_are_counted(town: ChatServer) -> None:
    """In ``/metrics``, by what they say."""
    admin = {"Authorization": f"Bearer {ADMIN_TOKEN}"}

    async def figures() -> dict[str, float]:
        async with town.http.get(town.server.url + "/metrics", headers=admin) as response:
            lines = (await response.text()).splitlines()
        found = [line.split(" ") for line in lines if line.startswith("orbit_ratings_total{")]
        return {name: float(value) for name, value in found}

    id = (await town.ask()).last["id"]
    before = await figures()
    for rating in (1, -1, -1):
        await rate(town, {"id": id, "rating": rating})
    after = await figures()
    up, down = 'orbit_ratings_total{rating="up"}', 'orbit_ratings_total{rating="down"}'
    assert after[up] - before.get(up, 0) == 1
    assert after[down] - before.get(down, 0) == 2


async def test_pages_of_other_sites(town: ChatServer) -> None:
    """A browser may send it from where it may ask."""
    headers = {
        "Origin": "https://site.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type, x-api-key",
    }
    async with town.http.options(town.server.url + "/feedback", headers=headers) as response:
        assert response.status == 200
        assert "POST" in response.headers["Access-Control-Allow-Methods"]


async def test_refused_questions_have_no_id(tmp_path: Path) -> None:
    """Nothing was answered, so there is nothing to rate."""
    (tmp_path / "blocked.txt").write_text("forbidden\n")
    async with open_town(
        tmp_path,
        safety__mode="strict",
        safety__blocklist=str(tmp_path / "blocked.txt"),
    ) as town:
        reply = await town.ask("forbidden")
        assert reply.last["blocked"] is True
        assert "id" not in reply.last
        assert "answer_id" not in town.exchange()
