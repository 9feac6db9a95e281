"""What indexes are called, and how a passage is sent."""

import json
from typing import Any

import pytest

from orbit_server.errors import SearchError
from orbit_server.retrieval.words.elasticsearch import layout
from orbit_server.retrieval.words.elasticsearch.layout import Index, Names

ID = "0b5eb5f5-1f6c-4d0e-9c0a-3d1f3d2c1b0a"


def test_names() -> None:
    """An index tells its collection; no two are called the same."""
    names = Names("orbit-words")
    assert names.alias(ID) == f"orbit-words-{ID}"
    new = names.new(ID)
    assert new != names.new(ID)
    assert names.collection_id(new) == ID
    assert names.record(ID) == f"/orbit-words.state/_doc/record-{ID}"
    for wrong in ("../x", "a b", "*", "A", ""):
        with pytest.raises(SearchError, match="not the id of a collection"):
            names.new(wrong)


def test_passages() -> None:
    """The id is that of the document, unless it is too long for one."""
    action, source = map(json.loads, layout.storing("x", "a", "pool open", -5).splitlines())
    assert action == {"index": {"_index": "x", "_id": "a"}}
    assert source == {"words": "pool open", "digest": -5}
    long = "ü" * 300
    action, source = map(json.loads, layout.storing("x", long, "pool", 1).splitlines())
    assert len(action["index"]["_id"]) < 512
    assert source["id"] == long
    assert json.loads(layout.removing("x", long)) == {"delete": action["index"]}
    assert layout.id_of({"_id": "a"}) == "a"
    assert layout.id_of({"_id": "digest", "fields": {"id": [long]}}) == long


def test_what_an_index_says_of_itself() -> None:
    """One that is closed, or that we did not make, is of no version that can be used."""
    made = layout.of_passages("1:en")
    body = {"mappings": made["mappings"], "aliases": {"a": {}}, "settings": {"index": {}}}
    assert layout.described("x", body) == Index("x", True, layout.VERSION, "1:en")
    closed = body | {"settings": {"index": {"verified_before_close": "true"}}}
    assert layout.described("x", closed).version == 0
    foreign: dict[str, Any] = {"mappings": {}, "aliases": {}, "settings": {"index": {}}}
    assert layout.described("x", foreign) == Index("x", False, 0, "")
