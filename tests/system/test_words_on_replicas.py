"""Replicas on one Chroma server, each with word indexes of its own: in the end all answer alike.

The replicas are real processes. Documents are loaded, changed and deleted through any of them, now
and then through two at once, while now this one and now that one is killed.
"""

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from operator import eq
from pathlib import Path

import aiohttp
import orjson
import pytest

from orbit_server.documents.collection_store import CollectionStore
from orbit_server.documents.model import Chunk
from orbit_server.documents.remote_store import RemoteStore
from orbit_server.errors import OrbitError
from orbit_server.retrieval.chroma.rest import ChromaServer
from orbit_server.retrieval.hashed_embedder import LexicalEmbedder, hashed_words
from orbit_server.retrieval.retriever import Retrieval
from orbit_server.retrieval.words.index import WordIndex

from ..support.chroma_run import RunningChroma, chroma_run
from ..support.ports import free_port
from ..support.program import Server, answering, command, configure, start
from ..support.server import ADMIN_TOKEN

pytestmark = pytest.mark.anyio

SEED = 20261126
REPLICAS = 3
LOADERS = 3
KILLS = 6
SOURCES = {"town": 8, "port": 8, "mill": 4}
ANSWERS = 120
PATIENCE = 150.0
NOUNS, PLACES, WAYS = (
    line.split()
    for line in (
        "library museum harbour market bakery cinema school theatre garden station bridge tower"
        " chapel brewery stadium gallery hostel nursery orchard quarry sawmill tannery viaduct"
        " windmill archive barracks cottage dairy embassy foundry granary hospital island jetty",
        "Alder Birch Cedar Dover Elmswood Fenwick Granby Hollow Ivybridge Juniper Kelso Linden"
        " Marlow Norwood Oakham Penrith Quorn Rowan Selby Thirsk Upton Vernham Wells Yarrow",
        "quietly slowly rarely yearly nightly proudly cheaply freely fairly warmly briefly gladly"
        " boldly calmly dearly eagerly gently hastily kindly loosely",
    )
)


def chunks(source: str, edition: int) -> list[Chunk]:
    """Return an edition of a document: most of its passages are those of the one before."""
    made = []
    for position in range(24):
        chance = random.Random(f"{source} {position} {edition if position % 3 == 0 else 0}")
        noun, place, way = chance.choice(NOUNS), chance.choice(PLACES), chance.choice(WAYS)
        others = " and the ".join(chance.sample(NOUNS, chance.randint(1, 5)))
        text = (
            f"The {noun} of {place} opens {way} at {chance.randint(5, 23)}. It is near the {others}"
            f" in {chance.choice(PLACES)}, and people visit it {chance.choice(WAYS)}."
        )
        title = f"{source} {position}"
        made.append(Chunk.of(text, text, {"source": source, "title": title, "position": position}))
    return made


def questions(chance: random.Random) -> list[tuple[str, str]]:
    """Return collections, each with what is asked; every tenth time a word is misspelt."""
    asked = []
    for number in range(ANSWERS):
        noun, place = chance.choice(NOUNS), chance.choice(PLACES)
        if number % 10 == 0:
            place = place[:3] + place[4:]
        way, other = chance.choice(WAYS), chance.choice(NOUNS)
        question = f"When does the {noun} of {place} open {way} near the {other}?"
        asked.append((chance.choice(list(SOURCES)), question))
    return asked


@dataclass
class Replicas:
    """The replicas, by number: their folders, ports, and the processes that run."""

    folders: Sequence[Path]
    chance: random.Random
    ports: list[int] = field(default_factory=list)
    running: dict[int, Server] = field(default_factory=dict)

    async def start(self, number: int) -> None:
        """Start one; return when it answers."""
        folder, port = self.folders[number], self.ports[number]
        process = start(folder, "--host", "127.0.0.1", f"--port={port}")
        running = Server(f"http://127.0.0.1:{port}", folder, process)
        self.running[number] = running
        await answering(running)

    def kill(self, number: int) -> None:
        """End one as a failing machine does."""
        process = self.running.pop(number).process
        process.kill()
        process.wait()

    @asynccontextmanager
    async def store(self, number: int | None = None) -> AsyncIterator[RemoteStore]:
        """Open the store behind one of the replicas, as a balancer chooses it."""
        if number is None:
            number = self.chance.randrange(REPLICAS)
        async with RemoteStore(f"http://127.0.0.1:{self.ports[number]}", ADMIN_TOKEN) as store:
            yield store


@asynccontextmanager
async def replicas(
    folder: Path, chroma: RunningChroma, chance: random.Random
) -> AsyncIterator[Replicas]:
    """Run replicas on ``chroma``, each in a folder of its own, that share the database of keys."""
    folders = [folder / f"replica{number}" for number in range(REPLICAS)]
    for each in folders:
        each.mkdir()
        configure(
            each,
            chroma={"host": chroma.host, "port": chroma.port},
            database={"url": f"sqlite+aiosqlite:///{folder}/orbit.db"},
        )
    replicas = Replicas(folders, chance, [free_port() for _ in folders])
    try:
        await replicas.start(0)  # which makes the database
        await asyncio.gather(*map(replicas.start, range(1, REPLICAS)))
        yield replicas
    finally:
        for number in list(replicas.running):
            replicas.kill(number)


@dataclass
class Loads:
    """What is loaded through the replicas: of each document the edition that is wanted."""

    replicas: Replicas
    chance: random.Random
    wanted: dict[tuple[str, str], int] = field(default_factory=dict)
    failed: int = 0
    done: int = 0

    def __post_init__(self) -> None:
        self._locks = {
            (collection, f"{collection}-{number}.md"): asyncio.Lock()
            for collection, count in SOURCES.items()
            for number in range(count)
        }

    async def load(self, collection: str, source: str, edition: int) -> None:
        """Bring a document to its ``edition`` (none: it is deleted), as ``orbit ingest`` does."""
        new = {each.id: each for each in chunks(source, edition)} if edition else {}
        async with self.replicas.store() as store:
            known = await store.ids(collection, source)
            stale = sorted(known - new.keys())
            added = [each for id, each in new.items() if id not in known]
            if added or stale:
                await store.put(collection, added, stale, languages=["en"])

    async def once(self) -> None:
        """Load, change or delete a document at random, now and then through two at once."""
        collection, source = key = self.chance.choice(list(self._locks))
        async with self._locks[key]:
            self.wanted[key] = edition = self.chance.choice([0, 1, 2, 3, 4, 5, 6])
            twice = self.chance.random() < 0.3
            works = [self.load(collection, source, edition) for _ in range(2 if twice else 1)]
            results = await asyncio.gather(*works, return_exceptions=True)
            for result in results:
                assert result is None or isinstance(result, OrbitError), result
                self.failed += result is not None
                self.done += result is None

    async def keep_loading(self, until: asyncio.Event) -> None:
        """Load one document after the other until it is time."""
        while not until.is_set():
            await self.once()

    async def finish(self) -> None:
        """Load again what may not have arrived: the editions that are wanted."""
        for key in self._locks:
            await self.load(*key, self.wanted.setdefault(key, 1))

    def ids(self, collection: str) -> set[str]:
        """Return the ids that a collection should have in the end."""
        return {
            chunk.id
            for (name, source), edition in self.wanted.items()
            if name == collection and edition
            for chunk in chunks(source, edition)
        }


Answers = list[list[tuple[str, float]]]


async def asked(url: str, keys: dict[str, str], what: Sequence[tuple[str, str]]) -> Answers:
    """Return what the answers of one replica are made from: title and score of each source."""
    found = []
    async with aiohttp.ClientSession() as http:
        for collection, question in what:
            body = {"message": question, "stream": False}
            headers = {"X-API-Key": keys[collection]}
            async with http.post(f"{url}/chat", json=body, headers=headers) as response:
                reply = orjson.loads(await response.read())
                assert response.status == 200, reply
                found.append([(each["title"], each["score"]) for each in reply["sources"]])
    return found


async def expected(folder: Path, chroma: RunningChroma, what: Sequence[tuple[str, str]]) -> Answers:
    """Return the same of an index that is made anew from Chroma."""
    embedder = LexicalEmbedder()
    async with ChromaServer(chroma.host, chroma.port) as client, WordIndex(folder) as words:
        retrieval = Retrieval(chroma=client, lexical=words, embedder=embedder)
        store = CollectionStore(
            chroma=client, lexical=words, embedder=embedder, retrieval=retrieval
        )
        for collection in SOURCES:
            result = await store.reindex(collection)
            assert result.done == result.total
        return [
            [
                (passage.title, round(passage.rank_score or 0.0, 4))
                for passage in await store.search(*each)
            ]
            for each in what
        ]


async def by_another_program(chroma: RunningChroma) -> None:
    """Put passages into a collection of ours, of which nobody tells the servers."""
    texts = [f"The {noun} of Zennor opens nightly at 6." for noun in NOUNS[:5]]
    async with ChromaServer(chroma.host, chroma.port) as client:
        await client.upsert(
            "mill",
            ids=[f"theirs-{number}" for number in range(len(texts))],
            vectors=[hashed_words(text) for text in texts],
            documents=texts,
            metadatas=[{"title": f"theirs {number}"} for number in range(len(texts))],
        )


async def test_the_same_answers_from_every_replica(tmp_path: Path) -> None:
    """After random loads, deletes and kills: same sources, same order, as from a new index."""
    chance = random.Random(SEED)
    async with (
        chroma_run(tmp_path / "chroma") as chroma,
        replicas(tmp_path, chroma, chance) as three,
    ):
        keys = {}
        for collection in SOURCES:
            making = ("keys", "create", "--collection", collection, "--name", "Ann")
            made = await command(three.folders[0], *making)
            [keys[collection]] = re.findall(r"api_\w[\w-]{20,}", made.out)
        loads, enough = Loads(three, chance), asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(LOADERS):
                tasks.create_task(loads.keep_loading(enough))
            for _ in range(KILLS):
                await asyncio.sleep(chance.uniform(0.2, 0.8))
                number = chance.randrange(REPLICAS)
                three.kill(number)
                await three.start(number)
            enough.set()
        await loads.finish()
        await by_another_program(chroma)

        what, began = questions(chance), time.monotonic()
        wanted = await expected(tmp_path / "new", chroma, what)
        assert sum(map(bool, wanted)) > ANSWERS / 2
        urls = [three.running[number].url for number in range(REPLICAS)]
        answers: list[Answers] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while answers != [wanted] * REPLICAS:
                    answers = await asyncio.gather(*(asked(url, keys, what) for url in urls))
        same = [sum(map(eq, each, wanted)) for each in answers]
        print(
            f"\nseed {SEED}, {KILLS} kills, {loads.done} loads, {loads.failed} more failed; same:"
            f" {same} of {ANSWERS} answers {time.monotonic() - began:.0f} s later"
        )
        assert same == [ANSWERS] * REPLICAS
        assert not any("Traceback" in running.log for running in three.running.values())
