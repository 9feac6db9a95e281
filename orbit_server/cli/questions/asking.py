"""The report made: the log read, the questions embedded and grouped, the collection looked at."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

from ...config import Config
from ...documents.collection_store import Store
from ...errors import OrbitError
from ...observability import build_elasticsearch
from ...observability.chatlog_files import timestamp
from ...observability.ecs import record
from ...observability.elasticsearch import Failure
from ...observability.questions.grouping import grouped
from ...observability.questions.reading import LogReader
from ...observability.questions.report import Report, report, texts_to_group
from ...observability.questions.reviewed import ReviewedFile
from ...observability.questions.tally import Tally
from ...retrieval.out_of_domain import out_of_domain_questions
from ...retrieval.refused_texts import embedded
from ...services import Services
from ..console import progress
from ..models import require_models
from ..store import with_store

_LITTLE = 1.1  # a tenth above what is refused
_PROGRESS_FROM = 200


def questions_of(
    config: Config,
    collection: str,
    since: datetime,
    until: datetime,
    origin: Literal["files", "elasticsearch"],
    server: str | None,
) -> Report:
    """Return what ``collection`` was asked between two times, by the log that ``origin`` names.

    Raises ``OrbitError`` where the log cannot be read or the collection is not there, and what the
    embedder raises.
    """
    since, until = since.astimezone(UTC), until.astimezone(UTC)
    decided = ReviewedFile(Path(config.logging.file.directory)).of(collection)

    async def run(store: Store, services: Services) -> Report:
        shown = await store.show(collection)
        threshold = float(shown["threshold"])
        tally = Tally(collection, enough=threshold * _LITTLE)
        damaged = 0
        if origin == "files":
            damaged = _count_files(config, since, tally)
        else:
            await _count_documents(config, since, tally)
        asked = texts_to_group(tally, decided)
        if len(asked) > 1:
            await require_models(config, "ollama.embed_model")
        unrelated = out_of_domain_questions(shown["languages"]) or out_of_domain_questions()
        groups = await _grouped([each.text for each in asked], services, unrelated)
        return report(
            tally,
            asked,
            groups,
            decided,
            since=timestamp(since),
            until=timestamp(until),
            threshold=threshold,
            sources=list(shown["sources"]),
            damaged=damaged,
        )

    return with_store(config, server, run)


def _count_files(config: Config, since: datetime, tally: Tally) -> int:
    """Count this host's files; return the number of damaged lines."""
    reader = LogReader(Path(config.logging.file.directory), since)
    try:
        for rating in reader.records("feedback"):
            tally.rate(rating)
        for exchange in reader.records("exchange"):
            tally.add(exchange)
    except OSError as error:
        raise OrbitError(f"the chat log cannot be read: {error}") from error
    return reader.damaged


async def _count_documents(config: Config, since: datetime, tally: Tally) -> None:
    """Count what is in Elasticsearch, a page at a time."""
    if not config.elasticsearch.enabled:
        raise OrbitError("elasticsearch.enabled is false: the chat log is in its files only")
    client = build_elasticsearch(config.elasticsearch)
    target = config.elasticsearch.data_stream or f"{config.elasticsearch.index}-*.*"

    async def records(kind: str) -> AsyncIterator[dict[str, Any]]:
        filters: list[dict[str, Any]] = [
            {"term": {"event.action": kind}},
            {"term": {"orbit.collection": tally.collection}},
            {"range": {"@timestamp": {"gte": timestamp(since)}}},
        ]
        async for page in client.pages(target, filters):
            for document in page:
                yield record(document)

    try:
        async for rating in records("feedback"):
            tally.rate(rating)
        async for exchange in records("exchange"):
            tally.add(exchange)
    except Failure as failure:
        raise OrbitError(f"Elasticsearch at {client.node} cannot be read: {failure}") from failure
    finally:
        await client.close()


async def _grouped(
    texts: Sequence[str], services: Services, unrelated: Sequence[str]
) -> list[list[int]]:
    async def embed(part: Sequence[str]) -> list[list[float] | None]:
        found = await embedded(part, services.embedder.documents)
        return [each.vector for each in found]

    group = partial(grouped, texts, embed, unrelated=unrelated)
    if len(texts) < _PROGRESS_FROM:
        return await group()
    with progress("Grouping", len(texts)) as advanced:
        return await group(advanced=advanced)
