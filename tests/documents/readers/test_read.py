"""Files of every format become chunks or one clear complaint."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orbit_server.documents.readers.read import MAX_BYTES, SUFFIXES, read
from orbit_server.errors import UnreadableDocument

from ...support.documents import complaint, load


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give properties one folder for all their examples."""
    return tmp_path_factory.mktemp("documents")


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("a.json", "[", "not JSON: Expecting value in line 1, column 2"),
        ("a.json", '{"question": "q", "answer": "a"}', "not a list of objects"),
        ("a.json", "[]", "no question/answer pairs"),
        ("a.json", "[5, 6]", "Entry [0] is not an object"),
        ("a.json", '[{"question": "q"}]', 'Entry [0] has no text as "answer"'),
        ("a.json", '[{"question": "\u200b ", "answer": "a"}]', '[0] has no text as "question"'),
        ("a.json", '[{"question": "q", "answer": [5]}]', 'Entry [0] has no text as "answer"'),
        ("a.json", "[" * 100_000, "nested too deeply"),
        ("a.csv", "a,b\n1,2,3\n", "line 2 has more cells than the header"),
        ("a.tsv", "a\tb\n", "no visible text"),
        ("a.csv", "question,answer\n", "no question/answer pairs"),
        ("a.csv", "question,answer\nq,a,b\n", "line 2 has more cells than the header"),
        ("a.csv", 'question,answer\n"q\n2",\n', 'in line 3 has no text as "answer"'),
        ("a.csv", 'question,answer\nq,"never closed\n', "line 2 is malformed"),
        ("a.txt", b"\xef\xbb\xbfcaf\xe9", "not UTF-8 text: byte 6 is 0xe9"),
        ("a.md", b"\xff\xfeh\x00\x00", "not UTF-16-LE text: byte 4 is 0x00"),
        ("a.txt", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "not text"),
        ("a.txt", "", "empty"),
        ("a.pdf", " \n", "empty"),
        ("a.md", "<!-- nothing else -->", "no visible text"),
        ("a.html", "<title>only</title><script>x</script>", "no visible text"),
        ("a.txt", "\u200b\ufeff", "no visible text"),
        ("a.html", "<div>" * 100_000, "nested too deeply"),
        ("a.md", "> " * 5_000 + "x", "nested too deeply"),
        ("a.svg", "x", "ending .svg is not understood; known are .json .csv .tsv"),
    ],
)
def test_complaints_are_one_clear_sentence(
    tmp_path: Path, name: str, content: str | bytes, part: str
) -> None:
    """Every file that cannot be loaded says what is wrong with it, and where."""
    sentence = complaint(tmp_path, name, content)
    assert part in sentence
    assert sentence.endswith(".") and "\n" not in sentence and str(tmp_path) not in sentence


def test_a_cell_of_many_paragraphs(tmp_path: Path) -> None:
    """Each is read once, not once for every one after it: the square would take minutes."""
    page = "<table><tr><td>" + "<p>a" * 60_000 + "<td>b</table>"
    (whole,) = load(tmp_path, "a.html", page, size=200_000)
    assert whole.text == "a " * 59_999 + "a | b"


@pytest.mark.parametrize("many", ["[", "![", "[\n", "\\[[", "[a](b) ["])
def test_brackets_without_number_are_text(tmp_path: Path, many: str) -> None:
    """Nobody writes thousands of links in one paragraph; those of others stay links."""
    chunks = load(tmp_path, "a.md", many * 50_000 + "\n\n[name](target)\n")
    assert "name" in chunks[-1].text and "target" not in chunks[-1].text
    assert "[" in chunks[0].text and "&" not in chunks[0].text


def test_files_that_cannot_be_opened_are_unreadable(tmp_path: Path) -> None:
    """A missing file, a folder and a file over the limit are complaints like the others."""
    for name in ("missing.md", "folder.md"):
        (tmp_path / "folder.md").mkdir(exist_ok=True)
        with pytest.raises(UnreadableDocument, match="cannot be opened"):
            read(tmp_path / name, name, chunk_chars=100, chunk_overlap=0)
    with (tmp_path / "huge.txt").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(UnreadableDocument, match="larger than 50 MB"):
        read(tmp_path / "huge.txt", "huge.txt", chunk_chars=100, chunk_overlap=0)


@pytest.mark.parametrize(("size", "overlap"), [(100, 100), (100, -1), (0, 0)])
def test_impossible_sizes_are_the_callers_fault(tmp_path: Path, size: int, overlap: int) -> None:
    """Sizes come from the configuration, so a wrong one is no fault of the document."""
    with pytest.raises(ValueError, match="chunk_overlap"):
        load(tmp_path, "a.txt", "x", size=size, overlap=overlap)


# fmt: off
fragments = st.sampled_from([
    "<div", ">", "<p hidden>", "</p>", "<!--", "-->", "<![", "]]>", "<?", "&#x200b;", "&lt",
    "<br/>", "<table>", "<td>", "<th>", "<tr>", "<li>", "<ul>", "</ul>", "<h1>", "</h2>", "<title>",
    "<pre>", "<script>", "</table>", "</td>", "# ", "\n\n", "\n", "- ", "1. ", "> ",
    "|a|b|\n|-|-|\n", "```", "---\n", "title: x\n", "![", "](", "`", "**", "\\", "    ", '"', "'",
    ",", ";", "\t", "[", "{", "question,answer\n", '"question":"q"', "%PDF-1.4\n", "1 0 obj\n",
    "trailer", "xref\n", "a",
])
# fmt: on
soup = st.lists(fragments | st.text(max_size=5), max_size=30).map("".join)
anything = st.binary(max_size=300) | soup.map(lambda text: text.encode("utf-8", "replace"))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_any_bytes_are_chunks_or_a_complaint(folder: Path, suffix: str) -> None:
    """Nothing but ``UnreadableDocument`` comes out of ``read``, and chunks keep their promises."""

    # each PDF is read in a process of its own
    @settings(deadline=None, max_examples=25 if suffix == ".pdf" else 100)
    @given(anything)
    @example(b"<![foo[x]]>")
    @example(b"<a/<b")
    @example(b"\x00")
    def check(content: bytes) -> None:
        try:
            chunks = load(folder, f"any{suffix}", content, size=40, overlap=20)
        except UnreadableDocument as error:
            assert "damaged" not in str(error), repr(error.__cause__)
            return
        assert chunks
        assert len({chunk.id for chunk in chunks}) == len(chunks)
        assert [chunk.metadata["position"] for chunk in chunks] == list(range(len(chunks)))
        for chunk in chunks:
            assert chunk.text.strip() and chunk.embed.strip()
            assert "question" in chunk.metadata or len(chunk.text) <= 40
            json.dumps(chunk.metadata, allow_nan=False).encode()
            chunk.text.encode()

    check()


GUIDE = """# Town hall

Come in. It is *warm*.

## Opening hours

Open from nine.

## Closing

Closed at noon.

# Library

Quiet, please.
"""


def test_ids_follow_from_content(tmp_path: Path) -> None:
    """The same file gives the same ids; a changed paragraph changes its own section's alone."""
    before = load(tmp_path, "guide.md", GUIDE)
    again = load(tmp_path, "guide.md", GUIDE)
    edited = load(tmp_path, "guide.md", GUIDE.replace("warm", "cold"))
    assert before == again
    assert [a.id == b.id for a, b in zip(before, edited, strict=True)] == [False, True, True, True]
    content = json.dumps(
        [before[0].embed, before[0].text, dict(sorted(before[0].metadata.items()))],
        separators=(",", ":"),
    )
    assert before[0].id == hashlib.sha256(content.encode()).hexdigest()[:32]


def test_identical_passages_have_different_ids(tmp_path: Path) -> None:
    """A pair that stands in a file twice, or in two files, is stored twice."""
    entries = json.dumps([{"question": "q", "answer": "a"}] * 3)
    ids = {chunk.id for name in ("a.json", "b.json") for chunk in load(tmp_path, name, entries)}
    assert len(ids) == 6


def test_importing_loads_no_parser() -> None:
    """pypdfium2 and markdown-it are loaded by the first file that needs them."""
    code = (
        "import sys, orbit_server.documents.readers.read as _;"
        "print({'pypdfium2', 'markdown_it'} & set(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "set()\n"
