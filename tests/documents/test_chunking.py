"""Passages keep their limit, whole sentences, and every character."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from orbit_server.documents.chunking import split
from orbit_server.documents.cleaning import clean
from orbit_server.documents.model import Block

unhurried = settings(deadline=None, max_examples=150)


words = st.text(alphabet="klmnop", min_size=3, max_size=9)  # no abbreviation among them
sentences = st.lists(words, min_size=1, max_size=12).map(
    lambda listed: f"{' '.join(listed).capitalize()}."
)
paragraphs = st.lists(st.lists(sentences, min_size=1, max_size=6), min_size=1, max_size=8)


@unhurried
@given(paragraphs, st.integers(80, 400), st.integers(0, 79))
def test_every_sentence_is_in_a_passage(document: list[list[str]], size: int, overlap: int) -> None:
    """Sentences that fit stay whole, passages keep their limit, and order is the document's."""
    blocks = [Block(" ".join(sentences)) for sentences in document]
    passages = [block.text for block in split(blocks, size=size, overlap=overlap)]
    assert all(0 < len(passage) <= size for passage in passages)
    for sentence in (sentence for sentences in document for sentence in sentences):
        fits = len(sentence) <= size
        assert not fits or any(sentence in passage for passage in passages)
    _assert_covered("\n\n".join(block.text for block in blocks), passages, overlap)


@unhurried
@given(st.lists(st.text(), max_size=6), st.integers(1, 60), st.data())
def test_no_character_is_lost(document: list[str], size: int, data: st.DataObject) -> None:
    """Any text at all, in passages of any size, comes out complete and in order."""
    overlap = data.draw(st.integers(0, size - 1))
    passages = [block.text for block in split(map(Block, document), size=size, overlap=overlap)]
    assert all(0 < len(passage) <= size for passage in passages)
    _assert_covered("\n".join(map(clean, document)), passages, overlap)


def _assert_covered(document: str, passages: list[str], overlap: int) -> None:
    solid = "".join(document.split())
    ends = {0}  # where the passages so far may have come to, as text may repeat itself
    for passage in passages:
        piece = "".join(passage.split())
        starts = {start for end in ends for start in range(max(0, end - overlap), end + 1)}
        ends = {start + len(piece) for start in starts if solid.startswith(piece, start)}
    assert len(solid) in ends


def test_passages_overlap_by_whole_sentences() -> None:
    """The end of a passage opens the next, sentence by sentence, up to the overlap."""
    text = " ".join(f"Sentence number {number} is here." for number in range(20))
    passages = [block.text for block in split([Block(text)], size=120, overlap=60)]
    for before, after in pairwise(passages):
        shared = next(n for n in range(len(after), 0, -1) if before.endswith(after[:n]))
        assert 0 < shared <= 60
        assert after[:shared].startswith("Sentence") and after[:shared].endswith("here.")


def test_paragraphs_stay_together_where_they_fit() -> None:
    """A paragraph that fits in a passage of its own is not begun at the end of the one before."""
    first, second = "A short one. " * 5, "Another sentence. " * 5
    passages = [block.text for block in split([Block(first), Block(second)], size=100, overlap=0)]
    assert passages == [first.strip(), second.strip()]


def test_passages_do_not_cross_headings_or_pages() -> None:
    """What stands under another heading or on another page is another passage."""
    blocks = [
        Block("a", "H"),
        Block("b", "H"),
        Block("c", "I"),
        Block("d", page=1),
        Block("e", page=2),
    ]
    assert [(p.text, p.heading, p.page) for p in split(blocks, size=99, overlap=50)] == [
        ("a\n\nb", "H", None),
        ("c", "I", None),
        ("d", "", 1),
        ("e", "", 2),
    ]


def test_listings_keep_their_white_space() -> None:
    """A listing is divided between lines and keeps indentation and blank lines."""
    code = "def f():\n    return 1\n\n\nx  =  2"
    assert [p.text for p in split([Block(code, verbatim=True)], size=99, overlap=0)] == [code]
    divided = [p.text for p in split([Block(code, verbatim=True)], size=24, overlap=0)]
    assert divided == ["def f():\n    return 1", "x  =  2"]
