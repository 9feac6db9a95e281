"""How published clients read our streams: their rules, written down again, on our bytes."""

import asyncio
import random
import re
from collections.abc import AsyncIterator, Callable, Iterator

import orjson
import pytest

from tests.support.chat_server import ChatServer, Reply
from tests.support.chat_server import town as open_town

pytestmark = pytest.mark.anyio

TEXTS = 200
WORDS = [
    "ha",
    "ha",
    " no",
    "no",
    "\n",
    "\n",
    "1",
    "1",
    "a",
    "ab",
    "abc ",
    "  ",
    "é",
    "😀",
    "x" * 40,
]
MARKUP = [
    "https://example.com/a.html",
    "3.14",
    "10:30",
    "**b**",
    '"',
    "\\",
    "\u2028",
    "\r\n",
    "\x85",
]


@pytest.fixture(scope="module")
async def opened(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ChatServer]:
    """One server for the tests of this file."""
    async with open_town(tmp_path_factory.mktemp("clients")) as town:
        yield town


@pytest.fixture
async def town(opened: ChatServer) -> AsyncIterator[ChatServer]:
    """The server with an Ollama of this test's own."""
    async with opened.with_ollama():
        yield opened


# -- readers ---------------------------------------------------------------------------


def data_lines(body: bytes) -> Iterator[str]:
    """Yield what follows ``data: `` on lines that begin with exactly that, as both clients do."""
    for line in body.decode().split("\n"):
        if line.startswith("data: "):
            yield line[6:].strip()


def web_client(body: bytes) -> str:
    """Read as the JavaScript client does: it guesses what is new, and reads to the very end."""
    shown = ""
    for line in data_lines(body):
        shown += extracted(orjson.loads(line)["text"], shown)
    return shown


def extracted(incoming: str, shown: str) -> str:
    """Return what that client takes for new in ``incoming``, having shown ``shown``."""
    if not shown:
        return incoming
    if shown.endswith(incoming):
        return ""
    if len(incoming) > len(shown):
        if incoming.startswith(shown):
            return incoming[len(shown) :]
        common = 0
        while common < len(shown) and incoming[common] == shown[common]:
            common += 1
        if common > len(shown) / 2:
            return incoming[common:]
    return incoming


def terminal_client(body: bytes) -> str:
    """Read as the terminal clients do: print what is beyond what was printed, stop at done."""
    printed = ""
    for line in data_lines(body):
        event = orjson.loads(line)
        if event.get("done"):
            break
        printed += event["text"][len(printed) :]
    return printed


def package_client(body: bytes) -> str:
    """Read as the Python package does: the last text that says something is the answer."""
    answer = ""
    for line in data_lines(body):
        answer = orjson.loads(line)["text"] or answer
    return answer


def event_source(body: bytes) -> list[str]:
    """Return the data of every event, by the standard's own rules of parsing."""
    found: list[str] = []
    data: list[str] = []
    for line in re.split("\r\n|\n|\r", body.decode().removeprefix("\ufeff")):
        if not line:
            if data:
                found.append("\n".join(data))
            data = []
        name, _, value = line.partition(":")
        if name == "data":
            data.append(value.removeprefix(" "))
    return found


def standard_client(body: bytes) -> str:
    """Read as documented for the cumulative format: each text replaces the one before."""
    answer = ""
    for data in event_source(body):
        event = orjson.loads(data)
        answer = answer if event["done"] else event["text"]
    return answer


def appending_client(body: bytes) -> str:
    """Read as documented for the delta format: append."""
    return "".join(orjson.loads(data)["text"] for data in event_source(body))


CUMULATIVE: dict[str, Callable[[bytes], str]] = {
    "web": web_client,
    "terminal": terminal_client,
    "package": package_client,
    "standard": standard_client,
}


def texts() -> list[list[str]]:
    """Return answers in pieces that make hand-written readers stumble."""
    chance = random.Random(7)
    return [
        [chance.choice(WORDS + MARKUP) for _ in range(chance.choice([1, 2, 5, 40, 150]))]
        for _ in range(TEXTS)
    ]


async def asked(town: ChatServer, stream_format: str) -> list[tuple[str, Reply]]:
    """Ask for all texts, some at a time, and return each with what came back."""
    answers = texts()
    # The model repeats the piece numbers it is asked for in the question.
    town.ollama.reply = lambda body: answers[
        int(re.findall(r"text (\d+)\?", body["messages"][-1]["content"])[-1])
    ]
    at_once = asyncio.Semaphore(20)

    async def ask(number: int) -> tuple[str, Reply]:
        async with at_once:
            question = f"When does the library open, text {number}?"
            return "".join(answers[number]), await town.ask(question, stream_format=stream_format)

    return await asyncio.gather(*map(ask, range(TEXTS)))


# -- tests -----------------------------------------------------------------------------


async def test_cumulative_is_exact_for_every_published_client(town: ChatServer) -> None:
    """Two hundred random answers, full of what their rules get wrong in plain new text."""
    for text, reply in await asked(town, "cumulative"):
        read = {name: reader(reply.body) for name, reader in CUMULATIVE.items()}
        assert read == dict.fromkeys(CUMULATIVE, text)


async def test_delta_is_exact_for_readers_that_append(town: ChatServer) -> None:
    """Two hundred random answers; and the published clients do get them wrong."""
    wrong = 0
    for text, reply in await asked(town, "delta"):
        assert appending_client(reply.body) == text
        wrong += web_client(reply.body) != text
    assert wrong > 10


@pytest.mark.parametrize(
    ("pieces", "shown"),
    [
        (["ha", "ha", " no", "no"], "ha no"),
        (["a", "\n", "\n", "b", "1", "1"], "a\nb1"),
        (["a", "ab", "abc "], "abc "),
    ],
)
async def test_reader_of_the_web_client_is_that_of_the_published_one(
    town: ChatServer, pieces: list[str], shown: str
) -> None:
    """It garbles new-text pieces exactly as that was measured to do."""
    town.ollama.reply = pieces
    reply = await town.ask(stream_format="delta")
    assert web_client(reply.body) == shown


async def test_reader_of_the_terminal_client_is_that_of_the_published_one(town: ChatServer) -> None:
    """It loses the beginning of new-text pieces, as measured."""
    town.ollama.reply = ["Hello ", "big ", "world and more"]
    reply = await town.ask(stream_format="delta")
    assert terminal_client(reply.body) == "Hello and more"


async def test_response_ends_right_after_the_done_event(town: ChatServer) -> None:
    """The web client reads until it does; with a pause behind the done event it would hang."""
    async with town.asking() as response:
        body = b""
        async for chunk in response.content.iter_any():
            body += chunk
            if b'"done": true' in body:
                break
        rest = await asyncio.wait_for(response.read(), 10)
    assert (body + rest).count(b'"done": true') == 1
    assert (body + rest).endswith(b"}\n\n")


async def test_failure_is_shown_by_every_published_client(town: ChatServer) -> None:
    """They ignore ``error``: the sentence in the text is what their readers see."""
    from orbit_server.errors import ModelInterrupted
    from tests.support.ollama_standin import ErrorLine

    town.ollama.reply = ["The library", " opens", " at nine"]
    town.ollama.fault = ErrorLine(after=2)
    reply = await town.ask(stream_format="cumulative")
    whole = f"The library opens\n\n{ModelInterrupted.sentence}"
    assert {reader(reply.body) for reader in CUMULATIVE.values()} == {whole}


async def test_refusal_is_short_enough_to_be_shown(town: ChatServer) -> None:
    """The web client shows status and body of a 4xx as a message of the chat."""
    async with town.http.post(town.server.url + "/chat", json={"message": "hi"}) as response:
        shown = f"Network response was not ok: {response.status} {await response.text()}"
    assert len(shown) < 150
    assert "Invalid or missing API key" in shown


async def test_widget_gets_its_whole_answer(town: ChatServer) -> None:
    """The published widget sends no stream and wants ``response``."""
    town.ollama.reply = "It opens at nine."
    headers = {
        "Accept": "application/json",
        "X-Request-ID": "m3x9k2abc",
        "Connection": "keep-alive",
    }
    reply = await town.ask(stream=False, headers=headers)
    assert reply.json()["response"] == "It opens at nine."
    assert "error" not in reply.json()


async def test_browser_may_ask_from_another_origin(town: ChatServer) -> None:
    """The preflight allows what the clients send, without a key; a 401 is readable too."""
    asked = {
        "Origin": "https://example.org",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,x-api-key,x-request-id",
    }
    url = town.server.url + "/chat"
    async with town.http.options(url, headers=asked) as response:
        assert response.status == 200
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        allowed = response.headers["Access-Control-Allow-Headers"].lower()
        for header in ("content-type", "x-api-key", "x-request-id"):
            assert header in allowed
    async with town.http.post(url, json={}, headers={"Origin": "https://example.org"}) as response:
        assert response.status == 401
        assert response.headers["Access-Control-Allow-Origin"] == "*"
