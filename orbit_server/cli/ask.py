"""``orbit ask``: what a question finds, and how it would be answered, without a key."""

from typing import TYPE_CHECKING

import typer

from .options import Collection, Server

if TYPE_CHECKING:
    from ..documents.collection_store import Store
    from ..services import Services
    from ..types import Question, Retrieved


def ask(
    context: typer.Context, question: str, collection: Collection, server: Server = None
) -> None:
    """Show the passages for a question, and stream the answer.

    Passages are shown with their scores; no key is needed.
    """
    from ..config.loader import load
    from ..types import Question
    from .models import require_models
    from .store import with_store

    config = load(context.obj)

    async def run(store: "Store", services: "Services") -> None:
        here = ["ollama.embed_model"] if store is services.store else []
        await require_models(config, "ollama.model", *here)

        async def search(question: "Question", collection: str) -> "Retrieved":
            return await _passages(store, question, collection)

        asked = Question(message=question)
        async with services.pipeline.answer(asked, collection, search=search) as answer:
            async for pieces in answer:
                print("".join(pieces), end="", flush=True)
        print()

    with_store(config, server, run)


async def _passages(store: "Store", question: "Question", collection: str) -> "Retrieved":
    from rich.table import Table

    from ..types import Retrieved
    from .console import notes

    passages = await store.search(collection, question.message)
    table = Table("relevance", "title", "source", "passage")
    for passage in passages:
        excerpt = passage.public()["excerpt"]
        table.add_row(f"{passage.score:.3f}", passage.title, passage.source, excerpt)
    if table.row_count:
        notes.print(table)
    return Retrieved(passages)
