"""``json_body``: what is wrong with a body, in sentences that an end user may read."""

import re
from typing import Any

import pytest
from pydantic import BaseModel
from starlette.requests import Request

from orbit_server.api.admin import NewKey
from orbit_server.api.json_body import read_json, validated
from orbit_server.documents import wire
from orbit_server.errors import InvalidRequest, RequestTimeout, Unprocessable
from orbit_server.types import Question
from tests.support import asgi

pytestmark = pytest.mark.anyio

METADATA = "documents.0.metadata.x"


def sent(body: bytes, *, whole: bool = True) -> Request:
    """Return a request with this body, or with the beginning of a longer one."""
    scope = asgi.scope("POST", "/", [("Content-Type", "application/json")])
    chunks = [body] if whole else [body, b"never"]
    client = asgi.Client(scope, chunks)
    if not whole:
        client._chunks.pop()
        client._whole = False
    return Request(scope, client.receive)


def document(**fields: Any) -> dict[str, Any]:
    return {"documents": [{"id": "a", "embed": "a", "text": "a", "metadata": {}, **fields}]}


@pytest.mark.parametrize(
    ("model", "body", "sentence"),
    [
        (Question, {}, "message is missing."),
        (Question, {"message": 1}, "message must be text."),
        (Question, {"message": None}, "message must be text."),
        (Question, {"message": "a", "stream": "maybe"}, "stream must be true or false."),
        (Question, {"message": "a", "stream": []}, "stream must be true or false."),
        (Question, {"message": "a", "history": "x"}, "history must be a list."),
        (Question, {"message": "a", "history": [1]}, "history.0 must be an object."),
        (Question, {"message": "a", "history": [{}]}, "history.0.role is missing."),
        (
            Question,
            {"message": "a", "history": [{"role": "system", "content": "x"}]},
            'history.0.role must be "user" or "assistant".',
        ),
        (
            Question,
            {"message": "a", "stream_format": "xml"},
            'stream_format must be "delta" or "cumulative".',
        ),
        (NewKey, {"collection_name": "", "client_name": "a"}, "collection_name must not be empty."),
        (
            NewKey,
            {"collection_name": "a" * 513, "client_name": "a"},
            "collection_name must have at most 512 characters.",
        ),
        (wire.Reindex, {"start": "x"}, "start must be a whole number."),
        (wire.Reindex, {"start": 0.5}, "start must be a whole number."),
        (wire.Reindex, {"start": -1}, "start must be at least 0."),
        (wire.Reindex, {"start": 2**31}, "start must be less than 2147483648."),
        (wire.Sample, {"n": 1001}, "n must be at most 1000."),
        (wire.Threshold, {"threshold": "high"}, "threshold must be a number."),
        (wire.ChunkBatch, {"documents": [{}] * 1001}, "documents must have at most 1000 entries."),
        (wire.ChunkBatch, document(metadata=[]), "documents.0.metadata must be an object."),
        (
            wire.ChunkBatch,
            document(metadata={"x": []}),
            f"{METADATA} must be text, a number, true or false.",
        ),
        (
            wire.ChunkBatch,
            document(metadata={"x": None}),
            f"{METADATA} must be text, a number, true or false.",
        ),
        (
            wire.ChunkBatch,
            document(metadata={"$or": 1}),
            "documents.0.metadata.$or: a key must not be empty or begin with chroma: or $.",
        ),
        (Question, [], "The body must be a JSON object."),
    ],
)
def test_sentences(model: type[BaseModel], body: Any, sentence: str) -> None:
    """Each names the field and what it must be, in words of ours."""
    with pytest.raises(Unprocessable) as raised:
        validated(model, body)
    assert raised.value.detail == sentence


def test_a_field_of_any_length_makes_a_short_sentence() -> None:
    """A key of the body may be a megabyte."""
    with pytest.raises(Unprocessable) as raised:
        validated(wire.ChunkBatch, document(metadata={"$" + "x" * 100_000: 1}))
    assert len(raised.value.detail) < 200


@pytest.mark.parametrize("body", [b"{", b"\xff", b"", b"[1,]", b"nul"])
async def test_what_is_not_json(body: bytes) -> None:
    """The asker reads where; what the parser calls it is for the log."""
    request = sent(body)
    with pytest.raises(InvalidRequest) as raised:
        await read_json(request, limit=100)
    assert re.fullmatch(r"The body is not valid JSON \(line 1, column \d\)\.", raised.value.detail)
    assert str(raised.value) != raised.value.detail


async def test_a_body_that_does_not_arrive() -> None:
    """It is waited for, but not for ever."""
    with pytest.raises(RequestTimeout):
        await read_json(sent(b"{", whole=False), limit=100, seconds=0.01)
