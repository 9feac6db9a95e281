"""``Hosts`` against several stand-ins: each call finds a host that answers it, and no other."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from orbit_server.errors import (
    EmbedderMismatch,
    ModelBusy,
    ModelError,
    ModelInterrupted,
    ModelNotFound,
    ModelTimeout,
    ModelUnreachable,
    NotStarted,
)
from orbit_server.llm.hosts import Host, Hosts
from orbit_server.llm.hosts.circuit import Circuit
from orbit_server.llm.hosts.stream import HostStream
from orbit_server.llm.ollama import Ollama
from tests.support.ollama_standin import (
    BUSY,
    RUNNER_STOPPED,
    Abort,
    EndWithoutDone,
    ErrorLine,
    Fault,
    Hang,
    NotPulled,
    OldStyleError,
    OllamaStandIn,
    Status,
)

pytestmark = pytest.mark.anyio

CHAT, EMBED = "gemma3:4b", "bge-m3"
ASK = [{"role": "user", "content": "When?"}]
OPTIONS = {"num_ctx": 8192}


@asynccontextmanager
async def standins(count: int) -> AsyncIterator[list[OllamaStandIn]]:
    """Run so many hosts; each says its number."""
    async with AsyncExitStack() as stack:
        made = [await stack.enter_async_context(OllamaStandIn()) for _ in range(count)]
        for number, standin in enumerate(made):
            standin.reply = [str(number)]
        yield made
        for standin in made:
            await standin.until(lambda: standin.active == 0)  # noqa: B023


def together(
    made: Sequence[OllamaStandIn],
    *,
    places: int = 4,
    first_timeout: float = 60.0,
    read_timeout: float = 60.0,
    retries: int = 2,
    first_pause: float = 60.0,
    refresh_seconds: float = 60.0,
    place_timeout: float = 60.0,
) -> Hosts:
    """Return the client of all; a host that is out stays it, unless a test wants otherwise."""
    hosts = [
        Host(
            Ollama(
                each.url,
                options=OPTIONS,
                read_timeout=read_timeout,
                retries=retries,
                retry_delay=0.001,
            ),
            weight=places or 1,
            places=places,
            circuit=Circuit(first_pause=first_pause, jitter=lambda *_: 1.0),
        )
        for each in made
    ]
    return Hosts(
        hosts,
        embed_model=EMBED,
        first_timeout=first_timeout,
        place_timeout=place_timeout,
        refresh_seconds=refresh_seconds,
        first_look_seconds=10,
    )


async def told(stream: HostStream) -> str:
    async with stream:
        return "".join([piece async for pieces in stream for piece in pieces])


def chats(standin: OllamaStandIn) -> int:
    """Count the answers that were asked for."""
    return len(standin.bodies("/api/chat"))


async def test_an_answer_comes_from_a_host_that_has_the_model() -> None:
    """Models may live apart: each call goes where its model is."""
    async with standins(3) as (writer, embedder, guard):
        writer.models = {CHAT: ["completion"]}
        embedder.models = {f"{EMBED}:latest": ["embedding"]}
        guard.models = {"llama-guard3:1b": ["completion"]}
        async with together([writer, embedder, guard]) as hosts:
            for _ in range(5):
                stream = hosts.chat(ASK, model=CHAT, conversation="c")
                assert await told(stream) == "0"
                assert stream.usage["completion_tokens"] == 1
                assert await hosts.complete(ASK, model="llama-guard3:1b") == "2"
                assert len(await hosts.embed(["a"], model=EMBED)) == 1
            assert await hosts.models() == ["bge-m3:latest", CHAT, "llama-guard3:1b"]
            assert [host.running for host in hosts.hosts] == [0, 0, 0]
            assert [host.answers for host in hosts.hosts] == [0, 0, 0]
            with pytest.raises(ModelNotFound, match="on none of the hosts 127"):
                await told(hosts.chat(ASK, model="qwen3:4b"))
        assert [len(each.misuse) for each in (writer, embedder, guard)] == [0, 0, 0]


BEFORE: dict[str, Fault] = {
    "busy": BUSY,
    "password": Status(401, page="<html>"),
    "removed": NotPulled(),
    "runner stopped": RUNNER_STOPPED,
    "proxy": Status(502, page="<html>"),
    "proxy timeout": Status(504, page="<html>"),
    "error line": ErrorLine(),
    "old error": OldStyleError(),
    "nothing": EndWithoutDone(),
    "closed": Abort(),
    "reset": Abort(reset=True),
}


@pytest.mark.parametrize("fault", BEFORE.values(), ids=BEFORE.keys())
async def test_before_the_first_text_the_next_host_is_asked(fault: Fault) -> None:
    """One request to each host, whatever went wrong at the first two."""
    async with standins(3) as made, together(made) as hosts:
        await hosts.models()
        made[0].fault = made[1].fault = fault
        for _ in range(3):
            assert await told(hosts.chat(ASK, model=CHAT)) == "2"
            assert await hosts.complete(ASK, model=CHAT) == "2"
        assert chats(made[2]) == 6
        assert max(map(chats, made[:2])) <= 6
        assert [host.running for host in hosts.hosts] == [0, 0, 0]


@pytest.mark.parametrize("fault", BEFORE.values(), ids=BEFORE.keys())
async def test_no_host_is_asked_twice(fault: Fault) -> None:
    """Where all fail, the call fails like the last one, after one request to each."""
    async with standins(3) as made, together(made) as hosts:
        await hosts.models()
        for each in made:
            each.fault = fault
        with pytest.raises(ModelError):
            await told(hosts.chat(ASK, model=CHAT))
        assert list(map(chats, made)) == [1, 1, 1]


@pytest.mark.parametrize("retries", [0, 1, 5])
async def test_a_call_with_retries_of_its_own_makes_no_more(retries: int) -> None:
    """The safety check tries again itself: with 0, one request is all, whoever fails."""
    async with standins(3) as made, together(made) as hosts:
        await hosts.models()
        for each in made:
            each.fault = BUSY
        with pytest.raises(ModelBusy):
            await hosts.complete(ASK, model=CHAT, retries=retries)
        assert sum(map(chats, made)) == min(1 + retries, 3)


async def test_the_next_try_of_the_guard_goes_elsewhere() -> None:
    """A host that has just failed comes after the others, so one more try is enough."""
    for _ in range(5):
        async with standins(2) as made, together(made) as hosts:
            await hosts.models()
            made[0].fault = RUNNER_STOPPED
            said = set()
            for _ in range(4):
                try:
                    said.add(await hosts.complete(ASK, model=CHAT, retries=0))
                except ModelError:
                    said.add("")
            assert chats(made[0]) <= 1
            assert "1" in said


async def test_where_one_host_has_the_model_it_is_tried_again() -> None:
    """As a single Ollama is: twice, where that may help."""
    async with standins(2) as made:
        made[1].models = {}
        async with together(made, first_timeout=0.05) as hosts:
            await hosts.models()
            made[0].fault = [BUSY, Abort(), None]
            made[0].head_delay = 0.3  # nobody else could be asked, so there is time
            assert await told(hosts.chat(ASK, model=CHAT)) == "0"
            assert chats(made[0]) == 3
            made[0].fault = BUSY
            with pytest.raises(ModelBusy):
                await hosts.complete(ASK, model=CHAT)
            assert chats(made[0]) == 6


async def test_a_host_that_is_out_is_the_last_resort() -> None:
    """Its next trial may be a minute away, and it may work by now."""
    async with standins(2) as made, together(made) as hosts:
        await hosts.models()
        hosts.hosts[1].circuit.failed(silent=True)
        for _ in range(3):
            assert await told(hosts.chat(ASK, model=CHAT)) == "0"
        made[0].fault = [RUNNER_STOPPED]
        assert await told(hosts.chat(ASK, model=CHAT)) == "1"
        assert not hosts.hosts[1].is_out


async def test_what_no_host_would_take_is_asked_once() -> None:
    """400 is about the request: every host would say the same."""
    async with standins(2) as made, together(made) as hosts:
        await hosts.models()
        for each in made:
            each.fault = Status(400, "invalid format")
        for _ in range(5):
            with pytest.raises(ModelError, match="invalid format"):
                await told(hosts.chat(ASK, model=CHAT))
        assert sum(map(chats, made)) == 5
        assert not any(host.is_out for host in hosts.hosts)


@pytest.mark.parametrize("fault", [ErrorLine(after=2), Abort(after=2), EndWithoutDone(after=2)])
async def test_after_the_first_text_the_answer_breaks(fault: Fault) -> None:
    """It is not begun again elsewhere: what was said would be said twice."""
    async with standins(2) as made, together(made) as hosts:
        await hosts.models()
        for each in made:
            each.fault, each.reply, each.piece_delay = fault, ["a", "b", "c"], 0.01
        said: list[str] = []
        with pytest.raises(ModelInterrupted):
            async with hosts.chat(ASK, model=CHAT) as stream:
                async for pieces in stream:
                    said += pieces
        assert said == ["a", "b"]
        assert sum(map(chats, made)) == 1
        assert sum(host.failed for host in hosts.hosts) == 1
        assert sum(host.circuit.is_doubtful for host in hosts.hosts) == 1
        assert [host.answers for host in hosts.hosts] == [0, 0]


async def test_a_silent_host_holds_an_answer_up_once() -> None:
    """For the limit of time, then another host answers, and the next ones avoid the silent one."""
    async with standins(2) as made, together(made, first_timeout=1) as hosts:
        await hosts.models()
        made[0].fault = Hang()
        for number in range(6):
            assert await told(hosts.chat(ASK, model=CHAT, conversation=str(number))) == "1"
        assert chats(made[0]) <= 1
        made[1].fault = Hang(after=1)  # what has begun has the other limit
        stream = hosts.chat(ASK, model=CHAT)
        async with stream:
            assert await anext(stream) == ["1"]
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1.5):
                    await anext(stream)


async def test_thoughts_are_no_silence() -> None:
    """A model that thinks for longer than the limit is at work."""
    async with standins(2) as made:
        for each in made:
            each.models = {CHAT: ["completion", "thinking"]}
            each.thinking, each.piece_delay = ["Hm. "] * 40, 0.05
        hosts = together(made, first_timeout=1.5)
        for host in hosts.hosts:
            host.client.think = True
        async with hosts:
            await hosts.models()
            assert await told(hosts.chat(ASK, model=CHAT)) in "01"
            assert sum(map(chats, made)) == 1


async def test_all_silent() -> None:
    """Each has its time, once."""
    async with standins(2) as made, together(made, first_timeout=0.1) as hosts:
        await hosts.models()
        made[0].fault = made[1].fault = Hang()
        with pytest.raises(ModelTimeout):
            await told(hosts.chat(ASK, model=CHAT))
        assert list(map(chats, made)) == [1, 1]


async def test_a_frozen_host_delays_nothing_but_the_start() -> None:
    """One that takes connections and says nothing at all is never known to have the model."""
    async with standins(2) as made:
        made[0].frozen = True
        hosts = together(made)
        hosts._first_look_seconds = 1
        async with hosts:
            for _ in range(3):
                assert await told(hosts.chat(ASK, model=CHAT)) == "1"
                assert len(await hosts.embed(["a"], model=EMBED)) == 1
        made[0].frozen = False


async def test_dead_from_the_beginning() -> None:
    """All gone: each call says that nothing answers, and does not wait."""
    async with standins(2) as made:
        for each in made:
            await each.kill()
        async with together(made) as hosts:
            for _ in range(4):
                with pytest.raises(ModelUnreachable):
                    await told(hosts.chat(ASK, model=CHAT))
            with pytest.raises(ModelUnreachable):
                await hosts.models()
            with pytest.raises(ModelUnreachable):
                await hosts.embed(["a"], model=EMBED)


async def test_an_answer_waits_for_a_place_at_the_next_host() -> None:
    """Where its host fails and the other is full, it waits there instead of crowding it."""
    async with standins(2) as made, together(made, places=1) as hosts:
        await hosts.models()
        made[0].fault, made[1].fault = Abort(), [Hang(after=1), None]
        hosts.hosts[0].circuit.doubt()
        first = hosts.chat(ASK, model=CHAT)
        async with first:
            assert await anext(first) == ["1"]
            second = asyncio.create_task(told(hosts.chat(ASK, model=CHAT)))
            await made[0].until(lambda: chats(made[0]) == 1)
            await asyncio.sleep(0.05)
            assert chats(made[1]) == 1
            assert not second.done()
        assert await second == "1"
        assert [host.answers for host in hosts.hosts] == [0, 0]


async def test_short_calls_count_as_work_and_take_no_place() -> None:
    """A host that judges and reranks gets fewer answers, but is never closed to them by that."""
    async with standins(2) as made, together(made, places=2) as hosts:
        await hosts.models()
        hosts.hosts[0].running = 1
        assert {await told(hosts.chat(ASK, model=CHAT)) for _ in range(5)} == {"1"}
        hosts.hosts[0].running = 0
        assert [host.has_place for host in hosts.hosts] == [True, True]


async def test_leaving_at_any_moment_gives_the_place_back() -> None:
    """Cancelled after any number of steps of the loop, nothing is left running anywhere."""
    async with standins(2) as made:
        made[0].fault = [Abort(), None] * 100
        async with together(made, places=1) as hosts:
            await hosts.models()
            for steps in range(40):
                task = asyncio.create_task(told(hosts.chat(ASK, model=CHAT)))
                for _ in range(steps):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                assert [(host.answers, host.running) for host in hosts.hosts] == [(0, 0), (0, 0)]


async def test_conversations_stay_and_strangers_spread() -> None:
    """Follow-ups go to the host that has read the conversation; many conversations use all."""
    async with standins(3) as made, together(made) as hosts:
        await hosts.models()
        for standin in made:
            await hosts.hosts[made.index(standin)].client.complete(ASK, model=CHAT)
        for host in hosts.hosts:
            host.loaded.add(CHAT)
        homes = {}
        for number in range(30):
            name = str(number)
            homes[name] = await told(hosts.chat(ASK, model=CHAT, conversation=name))
            assert await told(hosts.chat(ASK, model=CHAT, conversation=name)) == homes[name]
        assert len(Counter(homes.values())) == 3


async def test_embeddings_come_from_the_same_files() -> None:
    """A host with other files of the model is refused, and who reads the log learns which."""
    async with standins(3) as made:
        made[0].digests = made[2].digests = {EMBED: "a" * 64}
        made[1].digests = {EMBED: "b" * 64}
        async with together(made) as hosts:
            for _ in range(8):
                await hosts.embed(["a"], model=EMBED)
            assert len(made[1].bodies("/api/embed")) == 0
            assert await hosts.digest(EMBED) == "a" * 64
            (sentence,) = hosts.refused()
            for part in (hosts.hosts[1].name, hosts.hosts[0].name, "a" * 12, "b" * 12):
                assert part in sentence
            assert "a" * 13 not in sentence
            await hosts.embed(["a"], model=EMBED, digest="b" * 64)
            assert len(made[1].bodies("/api/embed")) == 1
            with pytest.raises(EmbedderMismatch, match=r"cccccccccccc.* has aaaa.* has bbbb"):
                await hosts.embed(["a"], model=EMBED, digest="c" * 64)
            await made[0].kill()
            await made[2].kill()
            with pytest.raises(ModelUnreachable):  # and not the vectors of other files
                await hosts.embed(["a"], model=EMBED)
            assert len(made[1].bodies("/api/embed")) == 1


async def test_files_are_asked_for_before_anything_is_embedded() -> None:
    """Also by the first call, where no list has come in time."""
    async with standins(2) as made:
        made[0].digests, made[1].digests = {EMBED: "a" * 64}, {EMBED: "b" * 64}
        for digest, index in (("a" * 64, 0), ("b" * 64, 1)):
            hosts = together(made)
            hosts._first_look_seconds = 0
            async with hosts:
                assert await hosts.embed(["a"], model=EMBED, digest=digest)
            assert len(made[index].bodies("/api/embed")) == 1
            assert not made[1 - index].bodies("/api/embed")
            made[index].requests.clear()


async def test_a_text_that_every_host_refuses_takes_none_out() -> None:
    """bge-m3 answers some texts with 500, always the same ones: that is no broken host."""
    async with standins(2) as made:
        made[0].unembeddable = made[1].unembeddable = "NaN"
        async with together(made) as hosts:
            for _ in range(5):
                with pytest.raises(ModelError, match="NaN"):
                    await hosts.embed(["NaN"], model=EMBED)
            assert not any(host.is_out for host in hosts.hosts)


async def test_who_gives_up_waiting_says_something_of_the_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A caller with a limit of its own never lets the host fail: its leaving counts instead."""
    async with standins(2) as made, together(made) as hosts:
        await hosts.models()
        made[0].fault = Hang()
        hosts.hosts[1].running = 3  # so that the silent one is preferred
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.1):
                await hosts.complete(ASK, model=CHAT, retries=0)
        assert hosts.hosts[0].circuit.is_doubtful
        assert await hosts.complete(ASK, model=CHAT, retries=0) == "1"


async def test_secrets_stay_secret(caplog: pytest.LogCaptureFixture) -> None:
    """A wrong password of a proxy is said, never the password; no redirect carries it away."""
    caplog.set_level(logging.DEBUG)
    async with standins(1) as (standin,):
        standin.token, standin.prefix = "right", "/gpu/1"
        headers = {"Authorization": "Bearer wrong-and-secret"}
        async with Ollama(standin.url, headers=headers) as wrong:
            with pytest.raises(ModelError, match="401") as raised:
                await wrong.models()
            with pytest.raises(ModelError, match="401"):
                await wrong.complete(ASK, model=CHAT)
        assert "secret" not in f"{raised.value!r} {caplog.text}"
        async with Ollama(standin.url, headers={"Authorization": "Bearer right"}) as right:
            assert await right.complete(ASK, model=CHAT) == "0"
            with pytest.raises(ModelError, match="301"):
                await right._get("/api/tags/")


async def test_used_outside_of_its_lifespan() -> None:
    """A clear error, as of a single Ollama."""
    hosts = together([])
    with pytest.raises(NotStarted):
        await hosts.models()
    with pytest.raises(NotStarted):
        await anext(hosts.chat(ASK, model=CHAT))
