"""A folder opened by Chroma's Rust part, with the operations that clients have."""

from pathlib import Path

from orbit_server.retrieval.chroma.bindings import OpenFolder


def test_a_folder(tmp_path: Path) -> None:
    """Collections are made by name, and their records are reached by UUID."""
    folder = OpenFolder(tmp_path)
    configuration = {"hnsw": {"space": "cosine"}}
    body = {"name": "docs", "metadata": {"a": 1}, "get_or_create": True}
    made = folder.create("", body | {"configuration": configuration})
    assert made["configuration_json"]["hnsw"]["space"] == "cosine"
    assert folder.find("docs", {}) == made == folder.list("", {})[0]
    id = str(made["id"])
    texts = {"documents": ["one", "two"], "metadatas": [{"source": "x"}, None]}
    folder.upsert(id, {"ids": ["a", "b"], "embeddings": [[1.0, 0.0], [0.0, 1.0]], **texts})
    assert folder.count(id, {}) == 2
    query = {"query_embeddings": [[1.0, 0.1]], "n_results": 2, "include": ["distances"]}
    assert folder.query(id, query)["ids"] == [["a", "b"]]
    found = folder.get(id, {"ids": None, "where": {"source": "x"}, "include": ["documents"]})
    assert (found["ids"], found["documents"], found["metadatas"]) == (["a"], ["one"], None)
    both = {"query": query, "choice": lambda reply: {"ids": reply["ids"][0][:1], "include": []}}
    read = folder.query_and_get(id, both)
    assert read is not None and read["ids"] == ["a"]
    assert folder.query_and_get(id, {"query": query, "choice": lambda reply: None}) is None
    folder.delete(id, {"ids": ["a"]})
    folder.modify(id, {"new_name": "papers"})
    folder.close()

    again = OpenFolder(tmp_path)
    assert again.get(id, {"ids": ["a", "b"], "include": []})["ids"] == ["b"]
    again.drop("papers", {})
    assert again.list("", {}) == []
    again.close()
