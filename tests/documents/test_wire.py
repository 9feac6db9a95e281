"""``documents.wire``: what a command sends to a server's admin routes is what the server reads."""

import pytest
from pydantic import ValidationError

from orbit_server.documents import wire
from orbit_server.documents.model import Chunk
from orbit_server.retrieval.ranking import Candidate
from orbit_server.types import Passage

CHUNK = Chunk(id="a", embed="When? At nine.", text="At nine.", metadata={"source": "a.md"})
PASSAGE = Passage(id="a", text="At nine.", title="Hours", source="a.md", score=0.9)


def test_a_batch_there_and_back() -> None:
    """Chunks and ids to remove survive the way through JSON."""
    sent = wire.ChunkBatch.of([CHUNK], {"b"}).model_dump()
    read = wire.ChunkBatch.model_validate(sent)
    assert (read.chunks(), read.remove) == ([CHUNK], ["b"])


def test_the_reader_refuses_what_the_writer_may_send() -> None:
    """The client does not judge: the server's words are the same for every client."""
    sent = wire.ChunkBatch.of(
        [Chunk(id="a", embed="", text="", metadata={"$or": 1})], []
    ).model_dump()
    with pytest.raises(ValidationError):
        wire.ChunkBatch.model_validate(sent)


def test_replies_there_and_back() -> None:
    """Passages and candidates come out as they went in."""
    candidate = Candidate(PASSAGE, dense=0.8, bm25=None, words=0.3)
    assert wire.passages_from_json(wire.passages_to_json([PASSAGE])) == [PASSAGE]
    assert wire.candidates_from_json(wire.candidates_to_json([candidate])) == [candidate]
