"""Paths become files with names for users; links, pipes and loops are survived."""

import os
from pathlib import Path

import pytest

from orbit_server.documents.discovery import File, discover, source_name
from orbit_server.documents.readers.read import read


def tree(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")


def found(*paths: Path, follow_links: bool = False) -> list[tuple[str, str]]:
    return [(file.source, file.outcome) for file in discover(paths, follow_links=follow_links)]


def test_folders_are_searched_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Documents come sorted with paths from here; hidden ones never, unknown ones as ignored."""
    monkeypatch.chdir(tmp_path)
    tree(tmp_path, "docs/b.md", "docs/a/z.PDF", "docs/a/y.html", "docs/c.svg", "docs/.git/x.md")
    tree(tmp_path, "docs/.hidden.md", "docs/README")
    expected = [
        ("docs/README", "ignored"),
        ("docs/a/y.html", "document"),
        ("docs/a/z.PDF", "document"),
        ("docs/b.md", "document"),
        ("docs/c.svg", "ignored"),
    ]
    assert found(Path("docs")) == expected
    assert found(tmp_path / "docs") == expected
    assert found(Path())[0] == ("docs/README", "ignored")
    assert found(Path("docs/a/../b.md"), Path("docs/b.md")) == [("docs/b.md", "document")]


def test_paths_elsewhere_are_named_from_their_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No source shows where on the machine a document lies."""
    tree(tmp_path, "data/docs/a/x.md", "data/y.md", "here/z.md")
    monkeypatch.chdir(tmp_path / "here")
    assert found(tmp_path / "data/docs", Path("../data/y.md"), Path("z.md")) == [
        ("docs/a/x.md", "document"),
        ("y.md", "document"),
        ("z.md", "document"),
    ]
    assert source_name(Path()) == "."
    assert source_name(tmp_path / "data" / "docs") == "docs"


def test_two_files_of_one_name_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second file must not replace the chunks of the first."""
    tree(tmp_path, "one/faq.json", "two/faq.json", "here/x.md")
    monkeypatch.chdir(tmp_path / "here")
    first, second = discover([tmp_path / "one/faq.json", tmp_path / "two/faq.json"])
    assert (first.outcome, second.outcome) == ("document", "error")
    assert "already called faq.json" in second.problem


def test_paths_that_lead_nowhere_are_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Missing, unknown and special files are named, with the reason, and the rest goes on."""
    monkeypatch.chdir(tmp_path)
    tree(tmp_path, "a.svg", "ok.md", "docs/ok.md", "noending")
    os.mkfifo(tmp_path / "docs/pipe.md")
    (tmp_path / "docs/broken.md").symlink_to("nowhere.md")
    (tmp_path / "docs/self.md").symlink_to("self.md")
    result = list(
        discover([Path(name) for name in ("gone.md", "a.svg", "noending", "docs", "ok.md")])
    )
    problems = {file.source: file.problem for file in result if file.outcome == "error"}
    assert set(problems) == {
        "gone.md",
        "a.svg",
        "noending",
        "docs/pipe.md",
        "docs/broken.md",
        "docs/self.md",
    }
    assert "no such file" in problems["gone.md"]
    assert ".svg is not understood" in problems["a.svg"]
    assert "without an ending" in problems["noending"]
    assert "not a regular file" in problems["docs/pipe.md"]
    documents = [file.source for file in result if file.outcome == "document"]
    assert documents == ["docs/ok.md", "ok.md"]


def test_link_loops_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that contains itself is searched once, and a linked folder is when that is asked."""
    monkeypatch.chdir(tmp_path)
    tree(tmp_path, "docs/a.md", "elsewhere/b.md")
    (tmp_path / "docs/loop").symlink_to(tmp_path / "docs", target_is_directory=True)
    (tmp_path / "docs/more").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    documents = [("docs/a.md", "document"), ("docs/more/b.md", "document")]
    assert found(Path("docs"), follow_links=True) == documents


def test_links_out_of_the_folder_are_followed_on_request_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may write into the folder may not have the machine's other files loaded."""
    monkeypatch.chdir(tmp_path)
    tree(tmp_path, "docs/a.md", "docs/deep/b.md", "secret.md", "elsewhere/c.md")
    (tmp_path / "docs/environment.txt").symlink_to("/proc/self/environ")
    (tmp_path / "docs/everything").symlink_to("/")
    (tmp_path / "docs/inside.md").symlink_to("deep/../deep/b.md")
    (tmp_path / "docs/secret.md").symlink_to("../secret.md")
    (tmp_path / "docs/more").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "given").symlink_to(tmp_path / "docs", target_is_directory=True)
    expected = [
        ("a.md", "document"),
        ("deep/b.md", "document"),
        ("environment.txt", "link"),
        ("everything", "link"),
        ("more", "link"),
        ("secret.md", "link"),
    ]
    assert found(Path("docs")) == [(f"docs/{name}", outcome) for name, outcome in expected]
    assert found(Path("given")) == [(f"given/{name}", outcome) for name, outcome in expected]
    (tmp_path / "docs/everything").unlink()
    followed = [
        name for name, outcome in found(Path("docs"), follow_links=True) if outcome == "document"
    ]
    assert "docs/secret.md" in followed and "docs/more/c.md" in followed
    assert found(Path("docs/secret.md")) == [("docs/secret.md", "document")]


def test_names_are_fit_to_be_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file name with bytes that are no text, or with a line break, is still one clean line."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a\nb.md").write_text("x")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/c\xff.md")).write_text("x")
    assert [source for source, _ in found(Path())] == ["a b.md", "c\ufffd.md"]


def test_what_is_found_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A document's path and source are what ``read`` takes."""
    monkeypatch.chdir(tmp_path)
    tree(tmp_path, "docs/a.md")
    (entry,) = discover([Path("docs")])
    assert entry == File(Path("docs/a.md"), "docs/a.md")
    chunks = read(entry.path, entry.source, chunk_chars=100, chunk_overlap=0).chunks
    assert chunks[0].metadata["source"] == "docs/a.md"
