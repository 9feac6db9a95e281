"""``python -m orbit_server``: keys, documents and questions from the command line."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from ..config.loader import load
from ..documents.collection_store import Store
from ..errors import ModelUnreachable, OrbitError
from ..safety.guard import Verdict
from ..server.exit import fail, told
from ..services import Services
from ..types import Question, Retrieved
from . import (
    collections as cli_collections,
)
from . import (
    evaluation as cli_quality,
)
from . import (
    keys as cli_keys,
)
from . import (
    logs as cli_logs,
)
from .console import Collection, Server, notes, out, with_store
from .doctor import command as cli_doctor

ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="Configuration file (default: config.yaml).")
]


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

    with_store(load(context.obj), server, run)


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


app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.command()(cli_doctor.doctor)
app.command()(cli_collections.ingest)
app.command()(ask)
app.command()(moderate)
app.command("evaluate")(cli_quality.evaluate_search)
app.command("calibrate")(cli_quality.calibrate_threshold)
app.add_typer(cli_keys.app, name="keys")
app.add_typer(cli_collections.app, name="collections")
app.add_typer(cli_logs.app, name="logs")


@app.callback()
def options(context: typer.Context, config: ConfigFile = None) -> None:
    """Keys, documents and questions of an ORBIT server."""
    context.obj = config


def main() -> None:
    """Run one command; exit with 1 and a sentence, or with 2 for a wrong call or configuration."""
    with told():
        try:
            app()
        except ModelUnreachable as error:
            remedy = "Start it, or work without it: embedding.provider: lexical"
            fail(f"Ollama cannot be reached: {error}. {remedy}", 1)
