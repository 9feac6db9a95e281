"""``python -m orbit_server``: keys, documents and questions from the command line."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import orjson
import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table
from rich.text import Text

from . import calibrate, cli_doctor, cli_logs, evaluate
from .chroma import checked_name
from .chroma_lock import holder
from .config import Config, load
from .errors import ConfigError, Forbidden, KeysUnavailable, ModelUnreachable, OrbitError
from .guard import Verdict
from .ingest import Report
from .ingest import ingest as ingest_files
from .keys import Key, Keys, parse_expiry
from .retrieval import Rules
from .services import Services
from .store import Reindexed, Store
from .types import Question, Retrieved, StreamFormat

T = TypeVar("T")

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
keys_app = typer.Typer(no_args_is_help=True, help="Make, list and end API keys.")
collections_app = typer.Typer(no_args_is_help=True, help="See and delete collections.")
app.add_typer(keys_app, name="keys")
app.add_typer(collections_app, name="collections")
app.add_typer(cli_logs.app, name="logs")
app.command()(cli_doctor.doctor)

# Names and texts of documents are printed as they are: to rich, [b] in one would be an order.
out = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
notes = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)

Collection = Annotated[str, typer.Option("--collection", help="Name of the collection.")]
Server = Annotated[
    str | None, typer.Option("--server", help="URL of a running server to go through.")
]
Reference = Annotated[str, typer.Argument(help="The key, its id or its visible prefix.")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="Configuration file (default: config.yaml).")
]


@app.callback()
def options(context: typer.Context, config: ConfigFile = None) -> None:
    """Keys, documents and questions of an ORBIT server."""
    context.obj = config


def main() -> None:
    """Run one command; exit with 1 and a sentence, or with 2 for a wrong call or configuration."""
    try:
        app()
    except ConfigError as error:
        _fail("the configuration cannot be used:\n  " + "\n  ".join(error.mistakes), 2)
    except ModelUnreachable as error:
        remedy = "Start it, or work without it: embedding.provider: lexical"
        _fail(f"Ollama cannot be reached: {error}. {remedy}", 1)
    except KeysUnavailable as error:
        _fail(f"the database of the keys (database.url) cannot be used: {error}", 1)
    except OrbitError as error:
        _fail(str(error), 1)
    except KeyboardInterrupt:
        _fail("stopped", 130)


@keys_app.command("create")
def create_key(
    context: typer.Context,
    collection: Collection,
    name: Annotated[str, typer.Option("--name", help="Who will use the key.")],
    notes: Annotated[str, typer.Option("--notes", help="Anything worth remembering.")] = "",
    expires: Annotated[
        str | None, typer.Option("--expires", help="90d, 12h, or a date such as 2030-01-31.")
    ] = None,
    stream_format: Annotated[
        StreamFormat | None,
        typer.Option("--stream-format", help="Default: chat.stream_format."),
    ] = None,
) -> None:
    """Make a key for a collection and show it, this once."""
    try:
        expires_at = parse_expiry(expires) if expires else None
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--expires") from error

    async def create(keys: Keys) -> None:
        key, secret = await keys.create(
            checked_name(collection),
            name,
            notes=notes,
            expires_at=expires_at,
            stream_format=stream_format,
        )
        _say(f"Key {key.id} for collection {collection!r}. It is shown this once; keep it safe.")
        print(secret)

    _with_keys(context, create)


@keys_app.command("list")
def list_keys(context: typer.Context) -> None:
    """List all keys, by id and visible prefix."""

    async def show(keys: Keys) -> None:
        ids = Column("id", no_wrap=True), Column("prefix", no_wrap=True)
        table = Table(*ids, "collection", "client", "active", "expires", "last used")
        for key in await keys.list():
            table.add_row(
                key.id,
                key.prefix + "…",
                key.collection,
                key.client_name,
                "yes" if key.active else "no",
                _time(key.expires_at, "never"),
                _time(key.last_used_at, "never"),
            )
        _print_table(table)

    _with_keys(context, show)


@keys_app.command("status")
def key_status(context: typer.Context, key: Reference) -> None:
    """Show one key."""

    async def show(keys: Keys) -> None:
        _describe(await keys.find(key) or _unknown(key))

    _with_keys(context, show)


@keys_app.command("deactivate")
def deactivate_key(context: typer.Context, key: Reference) -> None:
    """Switch a key off. A running server follows within seconds."""

    async def deactivate(keys: Keys) -> None:
        found = await keys.deactivate(key) or _unknown(key)
        _say(f"Key {found.id} is inactive.")

    _with_keys(context, deactivate)


@keys_app.command("delete")
def delete_key(context: typer.Context, key: Reference) -> None:
    """Delete a key for good. A running server follows within seconds."""

    async def delete(keys: Keys) -> None:
        if not await keys.delete(key):
            _unknown(key)
        _say("The key is deleted.")

    _with_keys(context, delete)


@app.command()
def ingest(
    context: typer.Context,
    paths: Annotated[list[Path], typer.Argument(help="Files and folders.")],
    collection: Collection,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove what was loaded from files that are gone.")
    ] = False,
    server: Server = None,
) -> None:
    """Load documents into a collection: JSON and CSV questions, Markdown, text, HTML, PDF."""
    config = load(context.obj)

    async def run(store: Store, services: Services) -> Report:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn(
                "{task.percentage:>3.0f}% {task.fields[chunks]} chunks {task.fields[rate]}/s"
            ),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=notes) as progress:
            task = progress.add_task("Loading", total=None, chunks=0, rate=0)
            chunks = 0

            def advanced(size: int, new: int) -> None:
                nonlocal chunks
                chunks += new
                elapsed = progress.tasks[0].elapsed or 0.0
                rate = round(chunks / elapsed) if elapsed else 0
                progress.update(task, advance=size, chunks=chunks, rate=rate)

            return await ingest_files(
                paths,
                collection,
                store,
                chunk_chars=config.embedding.chunk_chars,
                chunk_overlap=config.embedding.chunk_overlap,
                prune=prune,
                started=lambda size: progress.update(task, total=size),
                advanced=advanced,
            )

    report = _with_store(config, server, run)
    _print_report(report, collection)
    if report.failed:
        raise typer.Exit(1)


@app.command()
def ask(
    context: typer.Context, question: str, collection: Collection, server: Server = None
) -> None:
    """Show the passages for a question, with their scores, and stream the answer."""

    async def run(store: Store, services: Services) -> None:
        async def retrieve(question: Question, collection: str) -> Retrieved:
            passages = await store.search(collection, question.message)
            table = Table("score", "title", "source", "passage")
            for passage in passages:
                public = passage.public()
                table.add_row(
                    f"{passage.score:.3f}", passage.title, passage.source, public["excerpt"]
                )
            notes.print(table)
            return Retrieved(passages)

        asked = Question(message=question)
        async with services.answer(asked, collection, retrieve=retrieve) as answer:
            async for pieces in answer:
                print("".join(pieces), end="", flush=True)
        print()

    _with_store(load(context.obj), server, run)


@app.command()
def moderate(context: typer.Context, text: str) -> None:
    """Show what the safety check says of a text: the verdict, the raw reply and the time."""
    config = load(context.obj)

    async def run() -> Verdict:
        services = Services(config)
        if services.guard is None:
            raise OrbitError("the safety check is switched off: set safety.mode to fuzzy or strict")
        async with services.ollama:
            return await services.guard.check(text)

    verdict = asyncio.run(run())
    out.print(f"verdict  {'safe' if verdict.safe else f'blocked ({verdict.reason})'}")
    out.print(f"reply    {verdict.raw!r}", markup=False)
    out.print(f"time     {verdict.seconds:.2f} s")


@app.command("evaluate")
def evaluate_search(
    context: typer.Context,
    collection: Collection,
    questions: Annotated[
        Path, typer.Option("--questions", help="JSON list of questions, see docs/retrieval.md.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    server: Server = None,
) -> None:
    """Measure how often the right passage is found, by meaning, by words and by both."""
    config = load(context.obj)
    asked = evaluate.read_questions(questions)

    async def run(store: Store, services: Services) -> tuple[Rules, list[evaluate.Figures]]:
        rules = await _rules(store, collection)
        search = partial(store.candidates, collection)
        with _progress("Searching", len(asked)) as advanced:
            return rules, await evaluate.evaluate(search, asked, rules, advanced=advanced)

    rules, rows = _with_store(config, server, run)
    answerable = sum(each.answerable for each in asked)
    if as_json:
        summary = {
            "collection": collection,
            "answerable": answerable,
            "unanswerable": len(asked) - answerable,
            **rules._asdict(),
            "figures": [row._asdict() for row in rows],
        }
        print(orjson.dumps(summary, option=orjson.OPT_INDENT_2).decode())
        return
    _say(
        f"{answerable} questions with an answer in collection {collection!r}, "
        f"{len(asked) - answerable} without; threshold {_threshold(rules)}."
    )
    table = Table("search", "dense weight", "hit@1", "hit@3", "MRR@10", "answered", "refused")
    for name, weight, *figures in rows:
        cells = ("-" if figure is None else f"{figure:.3f}" for figure in figures)
        table.add_row(name, f"{weight:g}", *cells)
    _print_table(table)


@app.command("calibrate")
def calibrate_threshold(
    context: typer.Context,
    collection: Collection,
    questions: Annotated[
        Path | None,
        typer.Option("--questions", help="Take the answerable questions of this file instead."),
    ] = None,
    server: Server = None,
) -> None:
    """Measure what tells questions of a collection from foreign ones; store it as threshold."""
    config = load(context.obj)
    asked = evaluate.read_questions(questions) if questions else []
    foreign = calibrate.foreign_questions()

    async def run(store: Store, services: Services) -> tuple[Rules, calibrate.Calibration]:
        rules = await _rules(store, collection)
        own = [each.question for each in asked if each.answerable]
        unanswerable = [each.question for each in asked if not each.answerable]
        if not asked:
            own = await _own_questions(store, services, collection)
        with _progress("Searching", len(own) + len(foreign) + len(unanswerable)) as advanced:
            measured = await calibrate.calibrate(
                partial(store.candidates, collection),
                own,
                foreign,
                rules,
                unanswerable=unanswerable,
                advanced=advanced,
            )
        await store.calibrate(collection, measured.threshold)
        return rules, measured

    rules, measured = _with_store(config, server, run)
    table = Table(
        "questions", "count", "lowest", "5 %", "25 %", "median", "75 %", "95 %", "highest"
    )
    for name, scores in (
        ("own", measured.own),
        ("foreign", measured.foreign),
        ("unanswerable", measured.unanswerable),
    ):
        if scores:
            quantiles = (calibrate.quantile(scores, share) for share in _QUANTILES)
            table.add_row(name, str(len(scores)), *(f"{value:.3f}" for value in quantiles))
    _print_table(table)
    out.print(
        f"threshold {measured.threshold:.3f}: keeps {measured.kept:.3f} of the collection's "
        f"questions, refuses {measured.refused:.3f} of the foreign ones "
        f"(balanced accuracy {measured.balanced_accuracy:.3f})"
    )
    _say(f"Written into collection {collection!r}. Before: {_threshold(rules)}.")
    if rules.threshold_origin == "configured":
        _say("It is not used: chroma.confidence_threshold is set, and the configuration wins.")


@collections_app.command("list")
def list_collections(context: typer.Context, server: Server = None) -> None:
    """List all collections with their size and embedder."""

    async def run(store: Store, services: Services) -> None:
        table = Table("name", "chunks", "embedder", "model", "dimension")
        for found in await store.collections():
            table.add_row(*(str(found[key] if found[key] is not None else "-") for key in _SUMMARY))
        _print_table(table)

    _with_store(load(context.obj), server, run)


@collections_app.command("show")
def show_collection(context: typer.Context, name: str, server: Server = None) -> None:
    """Show one collection and what it was loaded from."""

    async def run(store: Store, services: Services) -> None:
        found = await store.show(name)
        sources = found.pop("sources")
        for key, value in found.items():
            out.print(f"{key:<16} {value}")
        table = Table("source", "chunks")
        for source, chunks in sources.items():
            table.add_row(source, str(chunks))
        _print_table(table)

    _with_store(load(context.obj), server, run)


@collections_app.command("reindex")
def reindex_collection(context: typer.Context, name: str, server: Server = None) -> None:
    """Write the word index of a collection anew from Chroma; also of one loaded by others."""

    async def run(store: Store, services: Services) -> Reindexed:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, console=notes) as progress:
            task = progress.add_task("Indexing", total=None)
            result = await store.reindex(name)
            while result.done < result.total:
                progress.update(task, completed=result.done, total=result.total)
                result = await store.reindex(name, result.done)
            progress.update(task, completed=result.done, total=result.total)
        return result

    result = _with_store(load(context.obj), server, run)
    _say(f"{result.done} passages of collection {name!r} indexed, {result.removed} gone removed.")


@collections_app.command("delete")
def delete_collection(
    context: typer.Context,
    name: str,
    server: Server = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a collection and all its documents."""
    if not yes:
        typer.confirm(f"Delete collection {name!r} and everything in it?", abort=True)

    async def run(store: Store, services: Services) -> None:
        await store.drop(name)
        _say(f"Collection {name!r} is deleted.")

    _with_store(load(context.obj), server, run)


@asynccontextmanager
async def open_store(
    config: Config, server: str | None, services: Services
) -> AsyncIterator[Store]:
    """Open the store that ``config`` names, or the running server that holds it.

    Raises ``OrbitError`` with the remedy when a server holds it and there is no way to go through.
    """
    https, cert_file = config.general.https, None
    if server is None and config.chroma.host is None and (held := holder(config.chroma.path)):
        server = held.get("address")
        cert_file = https.cert_file if https.enabled else None
        if server is None:
            raise OrbitError(
                f"{config.chroma.path} is in use by process {held.get('pid')}, which has not said "
                "where it answers. Name it with --server URL, or stop it first."
            )
        notes.print(f"A server holds {config.chroma.path}; going through {server}.")
    if server is None:
        async with services.lexical, services.chroma:
            yield services.store
        return
    if config.admin_token is None:
        raise Forbidden(
            cause=f"going through the server at {server} needs its admin token: set ADMIN_TOKEN in "
            "the environment or in .env. Nothing was changed."
        )
    from .remote import RemoteStore

    token = config.admin_token.get_secret_value()
    async with RemoteStore(server, token, cert_file=cert_file) as store:
        yield store


def _with_store(
    config: Config, server: str | None, run: Callable[[Store, Services], Awaitable[T]]
) -> T:
    async def main() -> T:
        services = Services(config)
        async with services.ollama, open_store(config, server, services) as store:
            return await run(store, services)

    return asyncio.run(main())


async def _rules(store: Store, collection: str) -> Rules:
    shown = await store.show(collection)
    return Rules(*(shown[field] for field in Rules._fields))


def _threshold(rules: Rules) -> str:
    return f"{rules.threshold:g} ({_ORIGINS[rules.threshold_origin]})"


async def _own_questions(store: Store, services: Services, collection: str) -> list[str]:
    passages = await store.sample(collection, _SAMPLE)
    complete, model = None, services.config.ollama.model
    if services.config.answer.provider == "ollama":
        complete = partial(services.ollama.complete, model=model)
    with _progress("Wording questions", len(passages)) as advanced:
        own = await calibrate.own_questions(passages, complete=complete, advanced=advanced)
    worded = f"{own.by_model} worded anew by {model}" if own.by_model else "none worded by a model"
    _say(f"{len(own.questions)} questions of the collection, {worded}.")
    return own.questions


@contextmanager
def _progress(description: str, total: int) -> Iterator[Callable[[], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=notes) as progress:
        task = progress.add_task(description, total=total)
        yield lambda: progress.update(task, advance=1)


def _with_keys(context: typer.Context, run: Callable[[Keys], Coroutine[Any, Any, None]]) -> None:
    config = load(context.obj)

    async def main() -> None:
        async with Keys(config.database.url, prefix=config.api_keys.prefix) as keys:
            await run(keys)

    asyncio.run(main())


def _print_report(report: Report, collection: str) -> None:
    table = Table("source", "chunks", "new", "removed", "")
    for result in report.files:
        table.add_row(
            result.source,
            str(result.chunks),
            str(result.stored),
            str(result.removed),
            Text(result.error, style="red"),
        )
    for source in report.pruned:
        table.add_row(source, "0", "0", "all", "file is gone")
    _print_table(table)
    loaded = sum(not result.error for result in report.files)
    new = sum(result.stored for result in report.files)
    if report.ignored:
        _say(f"Not understood and left out: {', '.join(report.ignored)}")
    _say(f"{loaded} of {len(report.files)} files in collection {collection!r}, {new} chunks new.")


def _print_table(table: Table) -> None:
    for column in table.columns:
        column.overflow = "fold"  # what is cut off an id or a file name is missing
    # A file or another program gets every row as one line, however long.
    wide = Console(highlight=False, markup=False, emoji=False, width=_ONE_LINE)
    (out if out.is_terminal else wide).print(table)


def _describe(key: Key) -> None:
    for name, value in (
        ("id", key.id),
        ("prefix", key.prefix + "…"),
        ("collection", key.collection),
        ("client", key.client_name),
        ("notes", key.notes),
        ("active", "yes" if key.active else "no"),
        ("created", _time(key.created_at, "-")),
        ("expires", _time(key.expires_at, "never")),
        ("last used", _time(key.last_used_at, "never")),
        ("stream", key.stream_format or "as configured"),
    ):
        out.print(f"{name:<11}{value}")


def _time(moment: datetime | None, otherwise: str) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC") if moment else otherwise


def _unknown(key: str) -> NoReturn:
    raise OrbitError("there is no such key; `keys list` shows all of them by id and prefix")


def _say(sentence: str) -> None:
    notes.print(sentence)


def _fail(sentence: str, code: int) -> NoReturn:
    print(f"orbit: {sentence}", file=sys.stderr)
    raise SystemExit(code)


_ONE_LINE = 10_000
_SAMPLE = 100
_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
_ORIGINS = {
    "configured": "chroma.confidence_threshold",
    "calibrated": "calibrated",
    "measured": "measured for this embedder",
    "guess": "a guess, not measured for this embedder",
}
_SUMMARY = ("name", "chunks", "embedder", "model", "dimension")
