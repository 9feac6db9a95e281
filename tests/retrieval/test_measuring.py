"""The threshold of a collection is measured by itself, once, in the languages that it is in."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from orbit_server.documents.model import Chunk
from orbit_server.errors import ModelUnreachable
from orbit_server.retrieval.measuring import PASSAGES, ThresholdMeter
from orbit_server.retrieval.out_of_domain import out_of_domain_questions
from orbit_server.retrieval.ranking import Candidate
from orbit_server.retrieval.thresholds import CALIBRATED, MEASURED
from orbit_server.retrieval.words.file_lock import locked
from orbit_server.services import Services
from orbit_server.types import Question

from ..support.server import lexical
from ..support.words import local

pytestmark = pytest.mark.anyio

TOWN = [
    "Die Bücherei öffnet werktags um neun Uhr und schließt um fünf.",
    "Die Hundesteuer beträgt für den ersten Hund 96 Euro im Jahr.",
    "Das Freibad liegt am Fluss unterhalb des alten Wehrs.",
    "Sperrmüll wird nach Anmeldung am ersten Montag im Monat abgeholt.",
    "Ein Reisepass kostet 70 Euro und ist zehn Jahre lang gültig.",
    "Der Wochenmarkt findet samstags auf dem Rathausplatz statt.",
    "Anwohner bekommen den Parkausweis im Bürgeramt für 30 Euro.",
    "Die Volkshochschule bietet im Herbst Kurse in zwölf Sprachen an.",
    "Das Trinkwasser der Stadt kostet zwei Euro je Kubikmeter.",
    "Geburten werden innerhalb einer Woche beim Standesamt angezeigt.",
    "Der Bus zum Bahnhof fährt alle zwanzig Minuten am Markt ab.",
    "Bäume dürfen nur im Winter und mit Genehmigung gefällt werden.",
]


@pytest.fixture
async def services(tmp_path: Path) -> AsyncIterator[Services]:
    async with Services(lexical(tmp_path)) as services:
        yield services


async def load(services: Services, texts: list[str], *, finish: bool = True) -> None:
    """Put texts into the collection ``town``; ``finish`` as the end of a load does."""
    chunks = [Chunk.of(text, text, {"source": "town.md", "title": "Stadt"}) for text in texts]
    await services.store.put("town", chunks, [])
    if finish:
        await services.store.put("town", [], [])


async def metadata(services: Services) -> dict[str, Any]:
    return (await services.chroma.collection("town", fresh=True)).metadata


async def settled(services: Services) -> None:
    """Wait for what is measured in the background."""
    async with asyncio.timeout(20):
        while MEASURED not in await metadata(services):  # noqa: ASYNC110 - nothing to wait on
            await asyncio.sleep(0.05)


async def test_a_load_ends_with_a_threshold(services: Services) -> None:
    """It fits: what the collection answers is answered, and what it does not is not."""
    await load(services, TOWN)
    shown = await services.store.show("town")
    assert shown["threshold_origin"] == "measured"
    assert (await metadata(services))[PASSAGES] == len(TOWN)

    async def found(question: str) -> bool:
        return bool((await services.retrieval(Question(message=question), "town")).passages)

    asked = ["Wann öffnet die Bücherei?", "Was kostet ein Reisepass?", "Wo liegt das Freibad?"]
    assert [await found(question) for question in asked] == [True, True, True]
    foreign = [await found(question) for question in out_of_domain_questions(["de"])]
    assert sum(foreign) <= len(foreign) / 5


async def test_a_collection_without_one_gets_it_when_it_is_asked(services: Services) -> None:
    """In the background: the question that notices is answered at once, by the embedder's."""
    await load(services, TOWN, finish=False)
    assert (await services.store.show("town"))["threshold_origin"] == "embedder"
    await services.retrieval(Question(message="Wann öffnet die Bücherei?"), "town")
    await settled(services)
    assert (await services.store.show("town"))["threshold_origin"] == "measured"


async def test_it_is_measured_again_when_there_is_half_as_much_more(services: Services) -> None:
    """Not for every load."""
    await load(services, TOWN[:9])
    assert MEASURED not in await metadata(services)  # too few to say anything
    await load(services, TOWN[9:10])
    assert (await metadata(services))[PASSAGES] == 10
    await load(services, TOWN[10:])
    assert (await metadata(services))[PASSAGES] == 10
    await load(services, [f"Haus Nummer {n} steht unter Denkmalschutz." for n in range(3)])
    assert (await metadata(services))[PASSAGES] == 15


async def test_a_calibrated_one_stays(services: Services) -> None:
    """Whoever has questions of their own knows better."""
    await load(services, TOWN, finish=False)
    await services.store.calibrate("town", 0.7)
    await services.store.put("town", [], [])
    known = await metadata(services)
    assert (known[CALIBRATED], MEASURED in known) == (0.7, False)


async def test_one_process_at_a_time(services: Services) -> None:
    """While another measures the collection, or loads it, nobody else does."""
    await load(services, TOWN, finish=False)
    id = (await services.chroma.collection("town")).id
    meter, path = services.retrieval.meter, local(services.lexical).directory / f"{id}.measuring"
    lock = await locked(path, patience=0)
    assert lock is not None
    await meter.measure("town")
    assert MEASURED not in await metadata(services)
    os.close(lock)
    async with services.lexical.writing(id):
        await meter.measure("town")
    assert MEASURED not in await metadata(services)
    await meter.measure("town")
    assert MEASURED in await metadata(services)
    assert not path.exists()


async def test_a_language_without_questions_is_left_alone(services: Services) -> None:
    """English ones would say nothing about it."""
    await load(services, [f"{n}. szoba: {text}" for n, text in enumerate(TOWN)], finish=False)
    await services.store.put("town", [], [], languages=["hu"])
    assert MEASURED not in await metadata(services)


async def test_what_fails_is_said(services: Services, caplog: pytest.LogCaptureFixture) -> None:
    """A model that is gone spoils no load; the next look tries again."""
    await load(services, TOWN, finish=False)

    def broken(name: str) -> Any:
        async def search(question: str) -> list[Candidate]:
            raise ModelUnreachable("nobody there")

        return search

    meter = ThresholdMeter(
        services.chroma,
        services.lexical,
        search=broken,
        settings=services.retrieval.settings,
    )
    await meter.measure("town")
    assert "the threshold was not measured: nobody there" in caplog.text
    assert MEASURED not in await metadata(services)


async def test_a_damaged_word_index_spoils_no_question(tmp_path: Path) -> None:
    """Nor does one of another user: it is answered by meaning, and measured another time."""
    async with Services(lexical(tmp_path)) as services:
        await load(services, TOWN, finish=False)
        id = (await services.chroma.collection("town")).id
    (local(services.lexical).directory / f"{id}.words" / "orbit.json").write_text("{")
    async with Services(lexical(tmp_path)) as services:
        lock = await locked(local(services.lexical).directory / f"{id}.lock", patience=0)
        assert lock is not None  # so that nobody mends it meanwhile
        found = await services.retrieval(Question(message="Wann öffnet die Bücherei?"), "town")
        os.close(lock)
        assert found.passages
