"""Word indexes in Elasticsearch: the stand-in, or a real one that ``ELASTICSEARCH_URL`` names."""

import os
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from orbit_server.config.schema import ElasticsearchConfig
from orbit_server.retrieval.words.elasticsearch import build
from orbit_server.retrieval.words.elasticsearch.indexes import ElasticsearchWords

from .elasticsearch_standin import ElasticsearchStandIn

URL = "ELASTICSEARCH_URL"
STAND_IN = "orbit-words"

# For fixtures: each test runs with the stand-in, and again with a real Elasticsearch.
BOTH = [
    "stand-in",
    pytest.param(
        "real",
        marks=[
            pytest.mark.live,
            pytest.mark.skipif(URL not in os.environ, reason=f"needs {URL}"),
        ],
    ),
]

Make = Callable[..., ElasticsearchWords]


def settings(node: str, prefix: str = STAND_IN, **more: Any) -> ElasticsearchConfig:
    """Return a configuration with an Elasticsearch for words; the log goes nowhere."""
    login = {
        key: os.environ[f"ELASTICSEARCH_{key.upper()}"]
        for key in ("username", "password")
        if f"ELASTICSEARCH_{key.upper()}" in os.environ and node == os.environ.get(URL)
    }
    given = {"node": node, "words_index": prefix, "words_timeout": 20, "auth": login}
    return ElasticsearchConfig.model_validate(given | more)


@asynccontextmanager
async def elasticsearch(kind: str) -> AsyncIterator[ElasticsearchConfig]:
    """Yield the configuration of an Elasticsearch, in which nothing is left behind."""
    if kind == "stand-in":
        async with ElasticsearchStandIn() as standin:
            yield settings(standin.url)
        return
    found = settings(os.environ[URL], f"orbit-test-{uuid.uuid4().hex[:8]}")
    try:
        yield found
    finally:
        async with build(found) as words:
            await words.drop_others([])
            await words.client.call("DELETE", f"/{words.names.state}", expected=(404,))
