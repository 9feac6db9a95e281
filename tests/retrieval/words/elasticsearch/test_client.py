"""Whatever becomes of Elasticsearch, it is said once, bounded in time, and over by itself."""

import asyncio
import base64
import logging
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orbit_server.errors import SearchError
from orbit_server.retrieval.words.elasticsearch.build import build_client
from orbit_server.retrieval.words.elasticsearch.client import ElasticsearchClient
from orbit_server.retrieval.words.errors import WordsUnavailable

from ....support.elasticsearch_standin import (
    BAD_GATEWAY,
    BUSY,
    NO_MASTER,
    ElasticsearchStandIn,
    Fault,
    Garbage,
    Hang,
    Refuse,
    Reset,
)
from ....support.shared_words import settings

pytestmark = pytest.mark.anyio

STATE = "/orbit-words.state/_doc/writer"
SECRET = "a-very-secret-word"


@pytest.fixture
async def standin() -> AsyncIterator[ElasticsearchStandIn]:
    """An Elasticsearch with the index of locks and records."""
    async with ElasticsearchStandIn() as server:
        server.words.answer("PUT", "/orbit-words.state", {}, b"{}")
        yield server


@pytest.fixture
async def client(standin: ElasticsearchStandIn) -> AsyncIterator[ElasticsearchClient]:
    """A client that waits a second with a question."""
    client = build_client(settings(standin.url, words_timeout=1))
    await client.open()
    yield client
    client.close()


async def ask(client: ElasticsearchClient) -> int:
    """Send a request as a question does; its status."""
    async with client.limited():
        return (await client.call("GET", STATE, expected=(404,))).status


FAULTS: list[tuple[Fault, str]] = [
    (Refuse(500, "exception", "broken"), "exception: broken"),
    (BUSY, "status 429"),
    (NO_MASTER, "status 503"),
    (BAD_GATEWAY, "502 Bad Gateway"),
    (Refuse(200, page="<html>a login page</html>"), "not one of Elasticsearch"),
    (Garbage(), "not one of Elasticsearch"),
    (Hang(), "no answer within 1 s"),
    (Reset(), "cannot be reached"),
    (Refuse(401, "security_exception", "unable to authenticate"), "status 401"),
]


@pytest.mark.parametrize(("fault", "cause"), FAULTS)
async def test_it_is_said_once_and_over_by_itself(
    standin: ElasticsearchStandIn,
    client: ElasticsearchClient,
    fault: Fault,
    cause: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One line when it breaks and one when it answers again, whatever is asked in between."""
    assert await ask(client) == 404
    standin.outage = fault
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            with pytest.raises(WordsUnavailable):
                await ask(client)
        assert cause in client.cause
        standin.outage = None
        assert (await client.call("GET", STATE, expected=(404,))).status == 404
    assert client.cause == ""
    broke, again = (record.message for record in caplog.records)
    assert "by meaning alone" in broke
    assert cause in broke
    assert "again" in again


async def test_others_do_not_wait_in_vain(
    standin: ElasticsearchStandIn, client: ElasticsearchClient
) -> None:
    """Where a question has waited in vain, those after it ask nothing for a while."""
    standin.outage = Hang()
    with pytest.raises(WordsUnavailable, match="within"):
        await ask(client)
    before = len(standin.requests)
    for _ in range(5):
        with pytest.raises(WordsUnavailable):
            await ask(client)
    assert len(standin.requests) == before


async def test_it_is_asked_again(
    standin: ElasticsearchStandIn, client: ElasticsearchClient
) -> None:
    """After a rest, a question finds out that it answers."""
    standin.outage = NO_MASTER
    with pytest.raises(WordsUnavailable):
        await ask(client)
    standin.outage = None
    async with asyncio.timeout(20):
        while client.cause:
            try:
                await ask(client)
            except WordsUnavailable:
                await asyncio.sleep(0.05)


async def test_it_may_start_later(standin: ElasticsearchStandIn) -> None:
    """Opening sends nothing; a server that is away is found when it is there."""
    await standin.kill()
    client = build_client(settings(standin.url))
    await client.open()
    with pytest.raises(WordsUnavailable, match="cannot be reached"):
        await ask(client)
    await standin.start()
    assert (await client.call("GET", STATE, expected=(404,))).status == 404
    client.close()


async def test_what_it_refuses_for_its_content(
    standin: ElasticsearchStandIn, client: ElasticsearchClient
) -> None:
    """That is no outage."""
    with pytest.raises(SearchError, match="no such index") as caught:
        await client.call("GET", "/orbit-words-x/_count")
    assert not isinstance(caught.value, WordsUnavailable)
    assert client.cause == ""


async def test_credentials(standin: ElasticsearchStandIn, caplog: pytest.LogCaptureFixture) -> None:
    """A user or an API key; neither is ever said, even where a proxy repeats it."""
    standin.users = {"orbit": SECRET}
    standin.api_keys = {SECRET}
    user = {"username": "orbit", "password": SECRET}
    encoded = base64.b64encode(f"orbit:{SECRET}".encode()).decode()
    for more in ({"auth": user}, {"api_key": SECRET}):
        client = build_client(settings(standin.url, **more))
        await client.open()
        assert await ask(client) == 404
        standin.outage = Refuse(500, page=f"you sent {SECRET} and {encoded}")
        with caplog.at_level(logging.DEBUG), pytest.raises(WordsUnavailable) as caught:
            await ask(client)
        sent = encoded if "auth" in more else SECRET
        assert sent not in f"{caught.value} {client.cause} {caplog.text}"
        standin.outage = None
        client.close()
        caplog.clear()


async def test_a_wrong_password(standin: ElasticsearchStandIn) -> None:
    """It is an outage until somebody acts."""
    standin.users = {"orbit": SECRET}
    client = build_client(settings(standin.url))
    await client.open()
    with pytest.raises(WordsUnavailable, match="missing authentication"):
        await ask(client)
    client.close()


async def test_trust(tmp_path: Path) -> None:
    """A file that is no certificate is said by its key; trust is switched off only as asked."""
    (tmp_path / "ca.pem").write_text("nothing")
    client = ElasticsearchClient("https://localhost:1", ca_certs=str(tmp_path / "ca.pem"))
    with pytest.raises(SearchError, match=r"elasticsearch\.ca_certs"):
        await client.open()
    client = ElasticsearchClient("https://localhost:1", verify_certs=False)
    await client.open()
    client.close()
    assert ssl.create_default_context().check_hostname


async def test_a_path_before_its_own(standin: ElasticsearchStandIn) -> None:
    """As behind a proxy."""
    client = build_client(settings(f"{standin.url}/orbit-words.state"))
    await client.open()
    assert (await client.call("GET", "/_doc/writer", expected=(404,))).status == 404
    client.close()
