"""Documents in: every format, a second run, an edited file, an interruption, a running server."""

import asyncio
import contextlib
import json
import shutil
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from reportlab.pdfgen.canvas import Canvas  # type: ignore[import-untyped]

from orbit_server.documents.answers import ANSWERS, answer_pairs
from orbit_server.documents.collection_store import Store, Stored
from orbit_server.documents.ingest import Report, ingest
from orbit_server.errors import ModelError
from orbit_server.retrieval.chroma.embedded import ChromaEmbedded
from orbit_server.retrieval.out_of_domain import out_of_domain_questions
from orbit_server.retrieval.words.collection_language import languages_of
from orbit_server.retrieval.words.mending import analyzer_of
from orbit_server.services import Services

from ..support.ollama_standin import NotPulled, OllamaStandIn, Status
from ..support.ports import free_port
from ..support.program import Server, command, configure, environment, server
from ..support.server import configuration, events, lexical, text
from ..support.words import forget, indexed_ids, local

pytestmark = [pytest.mark.anyio, pytest.mark.process]


FOREIGN = frozenset(out_of_domain_questions())
QUESTIONS = {
    "What does the fishing licence cost?": "town/licences.pdf",
    "Who repairs the street lamps?": "town/lamps.html",
    "When is the glass container emptied?": "town/deep/glass.md",
    "May I keep chickens in my garden?": "town/animals.json",
    "Where do I register a boat?": "town/boats.csv",
    "How loud may a concert be?": "town/noise.txt",
}


def documents(folder: Path) -> Path:
    """Write one document of every format that is understood, and one that is not."""
    town = folder / "town"
    (town / "deep").mkdir(parents=True)
    pdf = Canvas(str(town / "licences.pdf"))
    pdf.drawString(72, 720, "The fishing licence costs twelve euros a year.")
    pdf.save()
    (town / "lamps.html").write_text(
        "<html><head><title>Lamps</title></head><body><h1>Street lamps</h1>"
        "<p>The utility company repairs broken street lamps.</p></body></html>"
    )
    (town / "deep" / "glass.md").write_text(
        "# Recycling\n\n## Glass\n\nThe glass container is emptied on Mondays.\n\n"
        "## Paper\n\nPaper is collected on the first Friday.\n"
    )
    (town / "animals.json").write_text(
        json.dumps(
            [
                {"question": "May I keep chickens?", "answer": "Up to five chickens.", "page": 3},
                {"question": "May I keep bees?", "answer": "Yes, two hives."},
            ]
        )
    )
    (town / "boats.csv").write_text(
        "question,answer,office\nWhere do I register a boat?,At the harbour office.,2\n"
    )
    (town / "noise.txt").write_text("A concert may be as loud as 95 decibels until ten.\n")
    (town / "logo.svg").write_text("<svg/>")
    return town


Load = Callable[..., Any]


class Embedding(OllamaStandIn):
    """A stand-in that is asked for vectors only."""

    @property
    def batches(self) -> list[int]:
        """How many texts of documents each call had it make vectors of.

        Those of the questions that measure a threshold after a load are left out.
        """
        calls = (body["input"] for body in self.bodies("/api/embed"))
        return [len(texts) for texts in calls if not FOREIGN.issuperset(texts)]

    @property
    def embedded(self) -> int:
        """How many texts of documents it has made vectors of."""
        return sum(self.batches)


@pytest.fixture
async def ollama() -> AsyncIterator[Embedding]:
    async with Embedding() as ollama:
        yield ollama


@pytest.fixture
async def services(tmp_path: Path, ollama: Embedding) -> AsyncIterator[Services]:
    async with Services(configuration(tmp_path, ollama__base_url=ollama.url)) as services:
        yield services


@pytest.fixture
def load(tmp_path: Path, services: Services, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Load paths below the working directory, which is the test's folder, into ``town``."""
    monkeypatch.chdir(tmp_path)

    async def load(*paths: str, store: Store = services.store, **options: Any) -> Report:
        given = [Path(path) for path in paths or ("town",)]
        options = {"chunk_chars": 400, "chunk_overlap": 0, **options}
        return await ingest(given, "town", store, **options)

    return load


async def everything(services: Services) -> dict[str, Any]:
    """Return id, text and metadata of all that is stored."""
    return {
        record.id: (record.document, record.metadata)
        for record in await services.chroma.get("town")
    }


def outcomes(report: Report) -> dict[str, tuple[int, int, int]]:
    """Return chunks, new and removed ones by source."""
    return {
        result.source: (result.chunks, result.stored, result.removed) for result in report.files
    }


async def test_each_format_answers_its_question(tmp_path: Path) -> None:
    """From a folder with six kinds of files every question gets the right source, by its words."""
    documents(tmp_path)
    async with Services(lexical(tmp_path)) as services:
        with contextlib.chdir(tmp_path):
            report = await ingest(
                [Path("town")], "town", services.store, chunk_chars=400, chunk_overlap=0
            )
        assert not report.failed
        assert report.ignored == ["town/logo.svg"]
        for question, source in QUESTIONS.items():
            passages = await services.store.search("town", question)
            assert passages[0].source == source, question
        [glass] = [
            record.metadata
            for record in await services.chroma.get("town", where={"source": "town/deep/glass.md"})
            if "Mondays" in (record.document or "")
        ]
        assert (glass["title"], glass["heading"]) == ("Recycling", "Recycling > Glass")
        [chickens] = [
            record
            for record in await services.chroma.get("town", where={"source": "town/animals.json"})
            if record.metadata["position"] == 0
        ]
        assert chickens.document == chickens.metadata["answer"] == "Up to five chickens."
        assert (chickens.metadata["question"], chickens.metadata["title"]) == (
            "May I keep chickens?",
            "May I keep chickens?",
        )


async def test_a_second_run_changes_nothing(
    tmp_path: Path, services: Services, ollama: Embedding, load: Load
) -> None:
    """The same ids, and not one text is embedded again."""
    documents(tmp_path)
    first = await load()
    stored, embedded = await everything(services), ollama.embedded
    assert sum(result.stored for result in first.files) == len(stored) == embedded == 8
    second = await load()
    assert {result.source: result.stored + result.removed for result in second.files} == (
        dict.fromkeys(outcomes(first), 0)
    )
    assert await everything(services) == stored
    assert ollama.embedded == embedded


async def test_a_second_run_brings_back_what_others_deleted(
    tmp_path: Path, services: Services, ollama: Embedding, load: Load
) -> None:
    """A file that has not changed is compared with what is stored now, not with what was."""
    documents(tmp_path)
    await load()
    stored, embedded = await everything(services), ollama.embedded
    lost = sorted(stored)[:2]
    await services.chroma.delete("town", ids=lost)
    again = await load()
    assert sum(result.stored for result in again.files) == 2
    assert ollama.embedded == embedded + 2
    texts = {id: document for id, (document, _) in (await everything(services)).items()}
    assert texts == {id: document for id, (document, _) in stored.items()}


async def test_a_second_run_takes_other_languages(
    tmp_path: Path, services: Services, ollama: Embedding, load: Load
) -> None:
    """Nothing is embedded for them, but the words are written anew."""
    documents(tmp_path)
    await load()
    embedded, before = ollama.embedded, await services.chroma.collection("town", fresh=True)
    await load(languages=["de"])
    after = await services.chroma.collection("town", fresh=True)
    assert (languages_of(before.metadata), languages_of(after.metadata)) == (("en",), ("de",))
    state = await services.lexical.state(after.id)
    assert state.record is not None and state.record.analyzer == analyzer_of(after).name
    assert ollama.embedded == embedded


async def test_a_question_is_embedded_and_the_answer_kept_whole(
    tmp_path: Path, services: Services, ollama: Embedding, load: Load
) -> None:
    """However long the answer is, one vector of the question stands for it."""
    (tmp_path / "qa.json").write_text(json.dumps([{"question": "Long?", "answer": "yes " * 900}]))
    await load("qa.json")
    assert ollama.bodies("/api/embed")[0]["input"] == ["Long?"]
    [(document, _)] = (await everything(services)).values()
    assert document == ("yes " * 900).strip()


async def test_an_edited_file_replaces_its_chunks(
    tmp_path: Path, services: Services, ollama: Embedding, load: Load
) -> None:
    """Only what is new is embedded, what is no longer written goes, other files stay."""
    town = documents(tmp_path)
    await load()
    before, embedded = await everything(services), ollama.embedded
    page = town / "deep" / "glass.md"
    page.write_text(page.read_text().replace("Mondays", "Tuesdays"))
    report = await load()
    assert outcomes(report)["town/deep/glass.md"] == (2, 1, 1)
    assert ollama.embedded == embedded + 1
    after = await everything(services)
    assert len(after) == len(before)
    texts = [document for document, _ in after.values()]
    assert sum("Tuesdays" in each for each in texts) == 1
    assert sum("Mondays" in each for each in texts) == 0
    assert len(after.keys() & before.keys()) == len(before) - 1


async def test_gone_files_go_with_prune_only(
    tmp_path: Path, services: Services, load: Load
) -> None:
    """Without ``--prune`` nothing is taken away; with it, only below the paths that are named."""
    town = documents(tmp_path)
    (tmp_path / "other.txt").write_text("Something else.")
    (tmp_path / "townhall.txt").write_text("A neighbour by name.")
    await load("town", "other.txt", "townhall.txt")
    (town / "noise.txt").unlink()
    (town / "deep" / "glass.md").unlink()
    (tmp_path / "other.txt").unlink()
    (tmp_path / "townhall.txt").unlink()
    assert (await load()).pruned == []
    report = await load(prune=True)
    assert report.pruned == ["town/deep/glass.md", "town/noise.txt"]
    left = await services.store.sources("town")
    assert {"other.txt", "townhall.txt"} <= set(left)
    assert not set(report.pruned) & set(left)
    assert (await load(prune=True)).pruned == []


async def test_written_answers_are_not_pruned(
    tmp_path: Path, services: Services, load: Load
) -> None:
    """They have no file: whoever loads the whole working directory again keeps them."""
    documents(tmp_path)
    await load(".")
    pairs = answer_pairs(["Where do I moor my boat?"], "At the lower weir.")
    await services.store.put("town", pairs, [])
    assert (await load(".", prune=True)).pruned == []
    assert (await services.store.sources("town"))[ANSWERS] == 1
    found = await services.store.search("town", "Where do I moor my boat?")
    assert found[0].answer == "At the lower weir."


@pytest.mark.parametrize("named", ["town", "."])
async def test_what_cannot_be_opened_is_not_pruned(
    tmp_path: Path, services: Services, load: Load, named: str
) -> None:
    """A broken file and a folder that leads nowhere keep what was loaded from them."""
    town = documents(tmp_path)
    await load(named)
    before = await services.store.sources("town")
    (town / "animals.json").write_text("{")
    shutil.rmtree(town / "deep")
    (town / "deep").symlink_to("/nowhere/to/be/found")
    report = await load(named, prune=True)
    assert report.failed
    assert report.pruned == []
    assert await services.store.sources("town") == before
    (town / "deep").unlink()
    assert (await load(named, prune=True)).pruned == ["town/deep/glass.md"]


async def test_a_link_that_is_not_followed_is_not_pruned(
    tmp_path: Path, services: Services, load: Load
) -> None:
    """What was loaded through a link stays, and the link is named, when it is followed no more."""
    town = documents(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "ferry.txt").write_text("The ferry leaves at noon.")
    (town / "more").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert "town/more/ferry.txt" in outcomes(await load(follow_links=True))
    report = await load(prune=True)
    assert (report.failed, report.links, report.pruned) == (False, ["town/more"], [])
    assert (await services.store.sources("town"))["town/more/ferry.txt"] == 1


async def test_a_folder_that_is_missing_is_not_pruned(
    tmp_path: Path, services: Services, load: Load
) -> None:
    """A share that is not mounted today does not empty the collection."""
    town = documents(tmp_path)
    await load()
    before = await services.store.sources("town")
    town.rename(tmp_path / "elsewhere")
    report = await load(prune=True)
    assert (report.failed, report.pruned) == (True, [])
    assert await services.store.sources("town") == before


async def test_broken_files_are_named_and_the_rest_is_loaded(
    tmp_path: Path, services: Services, load: Load
) -> None:
    """Each damaged file has its sentence; what it held before stays as it was."""
    town = documents(tmp_path)
    await load()
    (town / "animals.json").write_text('[{"question": "no answer"}]')
    (town / "scan.pdf").write_bytes(b"%PDF-1.7 and then nothing")
    (town / "latin.txt").write_bytes(b"\xef\xbb\xbfStra\xdfe")
    (town / "empty.md").write_text("")
    (town / "new.txt").write_text("Dogs must be kept on a lead.")
    report = await load("town", "missing.txt")
    errors = {result.source: result.error for result in report.files if result.error}
    assert set(errors) == {
        *("town/animals.json", "town/scan.pdf", "town/latin.txt", "town/empty.md"),
        "missing.txt",
    }
    assert all(error.endswith(".") and "\n" not in error for error in errors.values())
    assert str(tmp_path) not in " ".join(errors.values())
    assert report.failed
    sources = await services.store.sources("town")
    assert (sources["town/animals.json"], sources["town/new.txt"]) == (2, 1)


async def test_a_broken_row_is_named_and_the_others_are_loaded(
    tmp_path: Path, services: Services, load: Load
) -> None:
    """A list with one entry that is no pair gives all the others, and is a failure."""
    pairs = [{"question": "May I keep bees?", "answer": "Yes."}, {"question": "And then?"}]
    (tmp_path / "qa.json").write_text(json.dumps(pairs))
    report = await load("qa.json")
    [result] = report.files
    assert (report.failed, result.error, result.stored, result.left_out) == (True, "", 1, 1)
    assert result.notes == ['Entry [1] has no text as "answer".']


async def test_progress_covers_every_byte(tmp_path: Path, services: Services, load: Load) -> None:
    """What is reported as done adds up to the total, broken and unchanged files included."""
    town = documents(tmp_path)
    (town / "broken.json").write_text("{")
    for _ in range(2):
        totals: list[int] = []
        steps: list[tuple[int, int]] = []
        await load(
            batch=3,
            started=totals.append,
            advanced=lambda *step, steps=steps: steps.append(step),
        )
        sizes = [path.stat().st_size for path in town.rglob("*") if path.is_file()]
        assert totals == [sum(sizes) - (town / "logo.svg").stat().st_size]
        assert sum(size for size, _ in steps) == totals[0]
    assert sum(chunks for _, chunks in steps) == 0


async def test_the_first_batches_are_small(tmp_path: Path, load: Load, ollama: Embedding) -> None:
    """There is something to estimate the rest from long before 256 texts are embedded."""
    pairs = [{"question": f"Question {n}?", "answer": f"{n}"} for n in range(300)]
    (tmp_path / "qa.json").write_text(json.dumps(pairs))
    steps: list[tuple[int, int]] = []
    await load("qa.json", advanced=lambda *step: steps.append(step))
    assert [chunks for _, chunks in steps] == [16, 32, 64, 128, 60]
    whole = (tmp_path / "qa.json").stat().st_size
    assert sum(size for size, _ in steps) == whole
    assert steps[0][0] == pytest.approx(whole * 16 / 300, abs=1)


async def test_lost_words_are_written_by_a_run_that_finds_nothing_new(
    tmp_path: Path, services: Services, ollama: Embedding, load: Load
) -> None:
    """Half of the words would find less than none, and nothing is embedded for the others."""
    documents(tmp_path)
    await load()
    collection = await services.chroma.collection("town")
    whole, embedded = local(services.lexical).count(collection.id), ollama.embedded
    for lost in (1, whole):
        ids = await indexed_ids(services.lexical, collection.id)
        await forget(services.lexical, collection.id, ids[:lost])
        await load()
        assert local(services.lexical).count(collection.id) == whole
    assert ollama.embedded == embedded


async def test_calls_to_the_model_are_bounded(
    tmp_path: Path, ollama: Embedding, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts go in batches of ``batch_size``, at most ``concurrency`` of them at a time."""
    pairs = [{"question": f"Question {n}?", "answer": f"{n}"} for n in range(50)]
    (tmp_path / "qa.json").write_text(json.dumps(pairs))
    monkeypatch.chdir(tmp_path)
    config = configuration(
        tmp_path,
        ollama__base_url=ollama.url,
        embedding__batch_size=8,
        embedding__concurrency=3,
    )
    running = most = 0

    async with Services(config) as services:
        embed = services.ollama.embed

        async def counted(*arguments: Any, **more: Any) -> list[list[float]]:
            nonlocal running, most
            running += 1
            most = max(most, running)
            try:
                return await embed(*arguments, **more)
            finally:
                running -= 1

        services.embedder._embed = counted  # type: ignore[attr-defined]
        ollama.embed_delay = 0.01
        await ingest([Path("qa.json")], "town", services.store, chunk_chars=400, chunk_overlap=0)
    assert (ollama.embedded, max(ollama.batches), most) == (50, 8, 3)


class Recording:
    """A store that keeps the size of every batch it is given, as JSON."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    async def ids(self, collection: str, source: str) -> set[str]:
        return set()

    def loading(
        self, collection: str
    ) -> Callable[[], contextlib.AbstractAsyncContextManager[None]]:
        return contextlib.nullcontext

    async def put(
        self,
        collection: str,
        chunks: Sequence[Any],
        remove: Sequence[str],
        *,
        languages: Sequence[str] = (),
    ) -> Stored:
        batch = [
            {"id": each.id, "embed": each.embed, "text": each.text, "metadata": each.metadata}
            for each in chunks
        ]
        self.sizes.append(len(json.dumps(batch, ensure_ascii=False).encode()))
        return Stored()


async def test_batches_fit_into_a_request(tmp_path: Path, load: Load) -> None:
    """Even of huge answers full of quotes no batch is larger than the server's 8 MiB."""
    quotes = '"\\\n' * 250_000
    pairs = [{"question": f"Question {n}?", "answer": f"{n}{quotes}x"} for n in range(4)]
    pairs += [{"question": f"Short {n}?", "answer": "short " * 3000} for n in range(200)]
    pairs += pairs[:2]
    (tmp_path / "qa.json").write_text(json.dumps(pairs))
    (tmp_path / "giant.json").write_text(
        json.dumps([{"question": "Too long?", "answer": "x" * 6_000_000}])
    )
    store = Recording()
    report = await load("qa.json", "giant.json", store=store)
    assert max(store.sizes) < 8 * 1024 * 1024
    [giant] = [result for result in report.files if result.error]
    assert (giant.source, "MiB" in giant.error) == ("giant.json", True)


async def test_a_model_that_goes_leaves_whole_batches(
    tmp_path: Path, services: Services, ollama: Embedding, load: Load
) -> None:
    """What was stored before the failure stays, and the next run embeds the rest only."""
    pairs = [{"question": f"Question {n}?", "answer": f"Answer {n}."} for n in range(20)]
    (tmp_path / "qa.json").write_text(json.dumps(pairs))
    ollama.embed_fault = [None, None, NotPulled()]
    with pytest.raises(Exception, match="bge-m3"):
        await load("qa.json", batch=5)
    assert await services.store.sources("town") == {"qa.json": 10}
    report = await load("qa.json", batch=5)
    assert outcomes(report) == {"qa.json": (20, 10, 0)}
    assert len(await everything(services)) == 20
    assert ollama.embedded == 25  # the batch that failed was asked for twice


async def test_a_refused_passage_is_left_out_and_the_rest_is_loaded(
    tmp_path: Path, services: Services, ollama: Embedding, load: Load
) -> None:
    """One text of many that has no vector is named, and stops nothing, on no run."""
    ollama.unembeddable = "zebra"
    pairs = [{"question": f"Question {n}?", "answer": f"Answer {n}."} for n in range(40)]
    pairs[17]["question"] = "May I keep a zebra?"
    (tmp_path / "qa.json").write_text(json.dumps(pairs))
    (tmp_path / "fine.txt").write_text("The library opens at nine.")
    for new in (39, 0):
        report = await load("qa.json", "fine.txt")
        assert report.failed
        [pairs_result, fine] = report.files
        assert (pairs_result.chunks, pairs_result.stored, pairs_result.left_out) == (40, new, 1)
        [note] = pairs_result.notes
        assert note.startswith("passage 18 is left out") and "unsupported value: NaN" in note
        assert (fine.chunks, fine.left_out, fine.notes) == (1, 0, [])
        assert len(await everything(services)) == 40
    ollama.unembeddable = ""
    report = await load("qa.json", "fine.txt")
    assert (report.failed, report.files[0].stored) == (False, 1)


async def test_a_passage_that_is_too_long_is_found_by_its_beginning(
    tmp_path: Path, services: Services, ollama: Embedding, load: Load
) -> None:
    """The vector is that of the first half, the text is stored whole, and that is said."""
    ollama.embed_cuts, ollama.context_length = False, 30
    (tmp_path / "long.txt").write_text("Short.\n\n" + "One longer word after another. " * 10)
    report = await load("long.txt")
    [result] = report.files
    assert (report.failed, result.left_out) == (False, 0)
    [note] = result.notes
    assert "first" in note and f"of {max(map(len, [*note]), default=0)}" not in note
    stored = [document for document, _ in (await everything(services)).values()]
    assert sum(len(document) for document in stored) > 300
    again = await load("long.txt")
    assert (again.files[0].stored, again.files[0].notes) == (0, [])


async def test_a_model_that_refuses_everything_stops_the_load(
    tmp_path: Path, services: Services, ollama: Embedding, load: Load
) -> None:
    """Then it is not the texts' fault, and nothing is reported as left out or taken away."""
    pairs = [{"question": f"Question {n}?", "answer": f"Answer {n}."} for n in range(40)]
    (tmp_path / "qa.json").write_text(json.dumps(pairs))
    ollama.embed_fault = Status(500, "the runner has no memory left")
    with pytest.raises(ModelError, match="no memory left"):
        await load("qa.json")
    assert await services.store.sources("town") == {}
    assert len(ollama.bodies("/api/embed")) < 20


# -- the command ------------------------------------------------------------------------------


def with_ollama(folder: Path, ollama: OllamaStandIn, **sections: Any) -> None:
    """Configure ``folder`` to work with a stand-in."""
    configure(
        folder,
        ollama={"base_url": ollama.url},
        embedding={"provider": "ollama", "batch_size": 4},
        answer={"provider": "ollama"},
        **sections,
    )


async def test_the_command_says_what_happened(tmp_path: Path) -> None:
    """A table of all files and their errors, exit code 1 when one was left out, else 0."""
    configure(tmp_path)
    town = documents(tmp_path)
    marked = town / "[bold]broken[" / "italic].json"  # together an order to rich
    marked.parent.mkdir()
    marked.write_text("{")
    result = await command(tmp_path, "ingest", "town", "--collection", "town")
    assert result.code == 1
    rows = [line for line in result.out.splitlines() if "town/" in line]
    assert len(rows) == 7
    [broken] = [row for row in rows if "[bold]broken[/italic].json" in row]
    assert "The file is not JSON" in broken
    assert "6 of 7 files" in result.err
    assert "town/logo.svg" in result.err
    marked.unlink()
    (town / "noise.txt").unlink()
    result = await command(tmp_path, "ingest", "town", "--collection", "town", "--prune")
    assert result.code == 0
    [gone] = [line for line in result.out.splitlines() if "noise.txt" in line]
    assert "gone" in gone
    assert "0 new chunks" in result.err


async def test_many_files_are_counted_and_failures_come_last(tmp_path: Path) -> None:
    """Two hundred files are not two hundred rows; what is wrong is at the end of the table."""
    configure(tmp_path)
    (tmp_path / "town").mkdir()
    for number in range(60):
        (tmp_path / "town" / f"{number:02}.txt").write_text(f"Document number {number}.")
    (tmp_path / "town" / "00.json").write_text("{")
    arguments = ("ingest", "town", "--collection", "town")
    result = await command(tmp_path, *arguments)
    rows = [line for line in result.out.splitlines() if "town/" in line]
    assert (result.code, len(rows)) == (1, 21)
    assert "not JSON" in rows[-1]
    assert "40 more files loaded." in result.err
    (tmp_path / "town" / "07.txt").write_text("Another document.")
    result = await command(tmp_path, *arguments)
    rows = [line for line in result.out.splitlines() if "town/" in line]
    assert ["07.txt" in rows[0], "00.json" in rows[1], len(rows)] == [True, True, 2]
    assert "59 files are unchanged." in result.err
    assert "60 of 61 files" in result.err


async def test_the_command_names_refused_passages(tmp_path: Path, ollama: Embedding) -> None:
    """File and passage are in the table, the count below it, and the exit code is 1."""
    with_ollama(tmp_path, ollama)
    ollama.unembeddable = "zebra"
    pairs = [{"question": f"Is {n} a zebra?", "answer": "No."} for n in range(5)]
    (tmp_path / "qa.json").write_text(json.dumps([*pairs, {"question": "Fine?", "answer": "Yes."}]))
    for new in ("1", "0"):
        result = await command(tmp_path, "ingest", "qa.json", "--collection", "town")
        assert result.code == 1
        [row] = [line for line in result.out.splitlines() if "qa.json" in line]
        assert "passage 1 is left out" in row and "And 2 more." in row
        assert "5 entries or passages were skipped" in result.err
        assert f"1 of 1 files in collection 'town', {new} new chunks." in result.err


async def test_another_embedder_is_refused_by_name(tmp_path: Path, ollama: Embedding) -> None:
    """Also when there is nothing new to embed: both names and the remedy, exit 1."""
    configure(tmp_path)
    (tmp_path / "a.txt").write_text("The library opens at nine.")
    arguments = ("ingest", "a.txt", "--collection", "town")
    assert (await command(tmp_path, *arguments)).code == 0
    with_ollama(tmp_path, ollama)
    for content in ("The library opens at nine.", "The library opens at ten."):
        (tmp_path / "a.txt").write_text(content)
        result = await command(tmp_path, *arguments)
        assert result.code == 1
        assert "lexical/hashed-words" in result.err
        assert "ollama/bge-m3" in result.err
        assert "collections delete town" in result.err
    assert ollama.embedded == 0


async def test_without_ollama_there_is_one_sentence(tmp_path: Path) -> None:
    """Nobody at the address: what is missing and what to do, exit 1, and no collection."""
    url = f"http://127.0.0.1:{free_port()}"
    configure(tmp_path, ollama={"base_url": url}, embedding={"provider": "ollama"})
    (tmp_path / "a.txt").write_text("The library opens at nine.")
    result = await command(tmp_path, "ingest", "a.txt", "--collection", "town")
    assert result.code == 1
    [said] = [line for line in result.err.splitlines() if line.startswith("orbit: ")]
    assert url in said
    assert "Ollama cannot be reached" in said
    assert "embedding.provider: lexical" in said
    result = await command(tmp_path, "collections", "list")
    assert "town" not in result.out


async def test_a_killed_run_is_continued(tmp_path: Path, ollama: Embedding) -> None:
    """After kill -9 in the middle the folder is free, and only what is missing is embedded."""
    with_ollama(tmp_path, ollama)
    for number in range(300):
        (tmp_path / "town").mkdir(exist_ok=True)
        pairs = [{"question": f"Question {number}?", "answer": f"Answer {number}."}]
        (tmp_path / "town" / f"{number:03}.json").write_text(json.dumps(pairs))
    arguments = [sys.executable, "-m", "orbit_server", "ingest", "town", "--collection", "town"]
    process = await asyncio.create_subprocess_exec(
        *arguments, cwd=tmp_path, env=environment(), stdout=DEVNULL, stderr=DEVNULL
    )
    # 16, 32, 64 and 128 are stored when more texts are asked for.
    await ollama.until(lambda: ollama.embedded > 240, timeout=60)
    process.kill()
    await process.wait()
    async with ChromaEmbedded(tmp_path / "data" / "chroma") as chroma:
        before = {record.id for record in await chroma.get("town")}
    assert len(before) == 240
    ollama.requests.clear()
    result = await command(tmp_path, "ingest", "town", "--collection", "town")
    assert result.code == 0, result.err
    assert "60 new chunks" in result.err
    assert ollama.embedded == 60
    async with ChromaEmbedded(tmp_path / "data" / "chroma") as chroma:
        after = await chroma.get("town")
    assert before < {record.id for record in after}
    assert len({record.metadata["question"] for record in after}) == len(after) == 300


@pytest.mark.parametrize(
    ("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)], ids=str
)
async def test_a_stopped_run_is_continued(
    tmp_path: Path, ollama: Embedding, name: str, code: int
) -> None:
    """A signal ends it in order: whole batches stay, one line says that it continues."""
    with_ollama(tmp_path, ollama)
    pairs = [{"question": f"Question {n}?", "answer": f"Answer {n}."} for n in range(300)]
    (tmp_path / "qa.json").write_text(json.dumps(pairs))
    arguments = ("ingest", "qa.json", "--collection", "town")
    ollama.embed_delay = 0.02
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "orbit_server", *arguments),
        cwd=tmp_path,
        env=environment(),
        stdout=DEVNULL,
        stderr=PIPE,
    )
    await ollama.until(lambda: ollama.embedded > 100, timeout=60)
    process.send_signal(signal.Signals[name])
    _, err = await process.communicate()
    assert process.returncode == code, err
    [said] = [line for line in err.decode().splitlines() if line.startswith("orbit: ")]
    assert said == "orbit: stopped; loaded passages stay, and the same command continues from there"
    ollama.embed_delay = 0.0
    result = await command(tmp_path, *arguments)
    assert result.code == 0, result.err
    assert "300 new chunks" not in result.err
    async with ChromaEmbedded(tmp_path / "data" / "chroma") as chroma:
        assert len(await chroma.get("town")) == 300


async def test_a_run_that_ignores_hangups_goes_on(tmp_path: Path, ollama: Embedding) -> None:
    """What nohup started outlives its terminal."""
    with_ollama(tmp_path, ollama)
    pairs = [{"question": f"Question {n}?", "answer": f"Answer {n}."} for n in range(60)]
    (tmp_path / "qa.json").write_text(json.dumps(pairs))
    ollama.embed_delay = 0.02
    process = await asyncio.create_subprocess_exec(
        *("nohup", sys.executable, "-m", "orbit_server"),
        *("ingest", "qa.json", "--collection", "town"),
        cwd=tmp_path,
        env=environment(),
        stdout=DEVNULL,
        stderr=DEVNULL,
    )
    await ollama.until(lambda: ollama.embedded > 16, timeout=60)
    process.send_signal(signal.SIGHUP)
    assert await process.wait() == 0
    assert ollama.embedded == 60


# -- while a server runs ----------------------------------------------------------------------


@pytest.fixture(scope="module")
async def orbit(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    folder = tmp_path_factory.mktemp("orbit")
    configure(folder)
    async with server(folder) as running:
        yield running


async def chatting(orbit: Server, key: str, stop: asyncio.Event) -> list[str]:
    """Ask the server one question after the other until told to stop; the answers."""
    answers = []
    async with aiohttp.ClientSession(headers={"X-API-Key": key}) as http:
        while not stop.is_set():
            body = {"message": "When does the library open?"}
            async with http.post(f"{orbit.url}/chat", json=body) as response:
                assert response.status == 200, await response.text()
                answers.append(text(events(await response.read())))
    return answers


async def test_documents_are_loaded_while_the_server_answers(orbit: Server) -> None:
    """The command finds the server by the lock and goes through it; answers do not stop."""
    (orbit.folder / "first.txt").write_text("The library opens at nine.")
    documents(orbit.folder)
    load = ("ingest", "--collection", "town")
    assert (await command(orbit.folder, *load, "first.txt")).code == 0
    made = await command(orbit.folder, "keys", "create", "--collection", "town", "--name", "x")
    stop = asyncio.Event()
    answers = asyncio.create_task(chatting(orbit, made.out.strip(), stop))
    result = await command(orbit.folder, *load, "town")
    stop.set()
    assert (result.code, orbit.url in result.err) == (0, True), result.err
    told = await answers
    assert told
    assert all("nine." in answer for answer in told)
    again = await command(orbit.folder, *load, "town", "--prune")
    assert (again.code, "0 new chunks" in again.err) == (0, True)
    async with aiohttp.ClientSession(headers={"X-API-Key": made.out.strip()}) as http:
        for question, source in QUESTIONS.items():
            body = {"message": question, "stream": False}
            async with http.post(f"{orbit.url}/chat", json=body) as response:
                reply = await response.json()
            assert reply["sources"][0]["source"] == source


@pytest.mark.parametrize(
    ("token", "sentence"),
    [(None, "set ADMIN_TOKEN"), ("another-token-0123456789", "Invalid or missing admin token")],
    ids=["none", "wrong"],
)
async def test_without_the_token_nothing_changes(
    orbit: Server, tmp_path: Path, token: str | None, sentence: str
) -> None:
    """Who may not read the server's folder needs its token, and is told so, exit 1."""
    configure(tmp_path)
    (tmp_path / "second.txt").write_text("The pool costs two euros.")
    (orbit.folder / "hall.txt").write_text("The town hall is closed on Mondays.")
    load = await command(orbit.folder, "ingest", "hall.txt", "--collection", "town")
    assert load.code == 0, load.err
    for arguments in (
        ("ingest", "second.txt", "--collection", "fresh"),
        ("collections", "list"),
        ("collections", "show", "town"),
        ("collections", "delete", "town", "--yes"),
        ("ask", "pool?", "--collection", "town"),
    ):
        result = await command(tmp_path, *arguments, "--server", orbit.url, token=token)
        assert result.code == 1
        [said] = [line for line in result.err.splitlines() if line.startswith("orbit: ")]
        assert sentence in said
        assert orbit.url in said
    shown = await command(orbit.folder, "collections", "list")
    assert "fresh" not in shown.out
    assert "town" in shown.out


async def test_another_machine_names_the_server(orbit: Server, tmp_path: Path) -> None:
    """With ``--server`` chunks go there from a folder that knows nothing of it."""
    configure(tmp_path)
    (tmp_path / "far.txt").write_text("The ferry leaves at noon.")
    arguments = ("--collection", "far", "--server", orbit.url)
    assert (await command(tmp_path, "ingest", "far.txt", *arguments)).code == 0
    assert not (tmp_path / "data").exists()
    result = await command(orbit.folder, "collections", "show", "far")
    assert "far.txt" in result.out
    nobody = f"http://127.0.0.1:{free_port()}"
    result = await command(tmp_path, "ingest", "far.txt", "--collection", "x", "--server", nobody)
    assert (result.code, nobody in result.err) == (1, True)


async def test_a_killed_server_leaves_the_folder_free(tmp_path: Path) -> None:
    """After kill -9 the next command opens the folder itself."""
    configure(tmp_path)
    (tmp_path / "a.txt").write_text("The library opens at nine.")
    arguments = ("ingest", "a.txt", "--collection", "town")
    async with server(tmp_path) as running:
        assert running.url in (await command(tmp_path, *arguments)).err
        assert await running.ended(signal.SIGKILL) == -signal.SIGKILL
    result = await command(tmp_path, *arguments)
    assert (result.code, "going through" in result.err) == (0, False)
    assert "0 new chunks" in result.err
