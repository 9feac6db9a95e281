"""``orbit evaluate`` and ``orbit calibrate``: how well a collection is searched."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import AsJson, Collection, Server

if TYPE_CHECKING:
    from ..documents.collection_store import Store
    from ..retrieval import calibration as calibrate
    from ..retrieval import evaluation as evaluate
    from ..retrieval.ranking import SearchSettings
    from ..services import Services

_SAMPLE = 100
_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
_ORIGINS = {
    "configured": "chroma.confidence_threshold",
    "calibrated": "calibrated",
    "measured": "measured for this collection",
    "embedder": "what suits this embedder",
    "guess": "a guess, not measured for this embedder",
}


def evaluate_search(
    context: typer.Context,
    collection: Collection,
    questions: Annotated[
        Path, typer.Option("--questions", help="JSON list of questions, see docs/retrieval.md.")
    ],
    as_json: AsJson = False,
    server: Server = None,
) -> None:
    """Measure how often the right passage is found.

    By meaning, by words and by both.
    """
    import orjson
    from rich.table import Table

    from ..config.loader import load
    from ..retrieval import evaluation as evaluate
    from .console import print_table, progress, say
    from .models import require_models
    from .store import with_store

    config = load(context.obj)
    asked = evaluate.read_questions(questions)

    async def run(
        store: "Store", services: "Services"
    ) -> "tuple[SearchSettings, list[evaluate.Metrics]]":
        if store is services.store:
            await require_models(config, "ollama.embed_model")
        settings = await _settings(store, collection)
        search = partial(store.candidates, collection)
        with progress("Searching", len(asked)) as advanced:
            return settings, await evaluate.evaluate(search, asked, settings, advanced=advanced)

    settings, rows = with_store(config, server, run)
    answerable = sum(each.answerable for each in asked)
    if as_json:
        summary = {
            "collection": collection,
            "answerable": answerable,
            "unanswerable": len(asked) - answerable,
            **settings._asdict(),
            "figures": [row._asdict() for row in rows],
        }
        print(orjson.dumps(summary, option=orjson.OPT_INDENT_2).decode())
        return
    say(
        f"{answerable} questions with an answer in collection {collection!r}, "
        f"{len(asked) - answerable} without; threshold {_threshold(settings)}."
    )
    table = Table(
        "search", "dense weight", "hit@1", "hit@3", "MRR@10", "kept", "kept, right", "let through"
    )
    for name, weight, *figures in rows:
        cells = ("-" if figure is None else f"{figure:.3f}" for figure in figures)
        table.add_row(name, f"{weight:g}", *cells)
    print_table(table)


def calibrate_threshold(
    context: typer.Context,
    collection: Collection,
    questions: Annotated[
        Path | None,
        typer.Option("--questions", help="Take the answerable questions of this file instead."),
    ] = None,
    server: Server = None,
) -> None:
    """Choose the threshold of a collection from questions.

    They are questions that it answers; without a file of them the model words them. The exit code
    is 1 when no better threshold exists.
    """
    from rich.table import Table

    from ..config.loader import load
    from ..retrieval import calibration as calibrate
    from ..retrieval import evaluation as evaluate
    from ..retrieval.out_of_domain import out_of_domain_questions
    from .console import out, print_table, progress, say
    from .models import require_models
    from .store import with_store

    config = load(context.obj)
    asked = evaluate.read_questions(questions) if questions else []

    async def run(
        store: "Store", services: "Services"
    ) -> "tuple[SearchSettings, calibrate.Calibration]":
        if store is services.store:
            await require_models(config, "ollama.embed_model")
        settings = await _settings(store, collection)
        languages = (await store.show(collection))["languages"]
        out_of_domain = out_of_domain_questions(languages) or out_of_domain_questions()
        in_domain = [each.question for each in asked if each.answerable]
        unanswerable = [each.question for each in asked if not each.answerable]
        if not asked:
            in_domain = await _in_domain_questions(store, services, collection)
        with progress(
            "Searching", len(in_domain) + len(out_of_domain) + len(unanswerable)
        ) as advanced:
            measured = await calibrate.calibrate(
                partial(store.candidates, collection),
                in_domain,
                out_of_domain,
                settings,
                unanswerable=unanswerable,
                advanced=advanced,
            )
        if measured.improves:
            await store.calibrate(collection, measured.threshold)
        return settings, measured

    settings, measured = with_store(config, server, run)
    table = Table(
        "questions", "count", "lowest", "5 %", "25 %", "median", "75 %", "95 %", "highest"
    )
    for name, scores in (
        ("in-domain", measured.in_domain),
        ("out-of-domain", measured.out_of_domain),
        ("unanswerable", measured.unanswerable),
    ):
        if scores:
            quantiles = (calibrate.quantile(scores, share) for share in _QUANTILES)
            table.add_row(name, str(len(scores)), *(f"{value:.3f}" for value in quantiles))
    print_table(table)
    for name, threshold in (("now", settings.threshold), ("best", measured.threshold)):
        out.print(
            f"{name}: threshold {threshold:.3f} keeps {measured.kept(threshold):.3f} of the"
            f" collection's questions, refuses {measured.refused(threshold):.3f} of the others"
            f" (balanced accuracy {measured.balanced_accuracy(threshold):.3f})"
        )
    if not measured.tells_apart:
        say(
            "Nothing is changed: the questions score like those that the collection does not"
            " answer. Are they questions about this collection?"
        )
        raise typer.Exit(1)
    if not measured.improves:
        say(
            f"Nothing is changed: no threshold that keeps as many of these questions, or 95 %,"
            f" separates them better than {_threshold(settings)}."
        )
        raise typer.Exit(1)
    say(f"Written into collection {collection!r}. Before: {_threshold(settings)}.")
    if settings.threshold_origin == "configured":
        say("It is not used: chroma.confidence_threshold is set, and the configuration wins.")


async def _settings(store: "Store", collection: str) -> "SearchSettings":
    from ..retrieval.ranking import SearchSettings

    shown = await store.show(collection)
    return SearchSettings(*(shown[field] for field in SearchSettings._fields))


def _threshold(settings: "SearchSettings") -> str:
    return f"{settings.threshold:g} ({_ORIGINS[settings.threshold_origin]})"


async def _in_domain_questions(store: "Store", services: "Services", collection: str) -> list[str]:
    from ..errors import OrbitError
    from ..retrieval import calibration as calibrate
    from .console import progress, say

    provider, model = services.pipeline.backend
    if provider != "ollama" or model is None:
        raise OrbitError(
            "Calibrating needs questions that the collection answers: a file of them (--questions,"
            " see docs/retrieval.md), or a model that words some (answer.provider: ollama)."
        )
    passages = await store.sample(collection, _SAMPLE)
    with progress("Wording questions", len(passages)) as advanced:
        own = await calibrate.in_domain_questions(
            passages, complete=services.ollama.complete, model=model, advanced=advanced
        )
    say(f"{len(own)} questions of the collection, worded by {model}.")
    return own
