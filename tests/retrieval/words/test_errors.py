"""``translated``: what tantivy and the file system raise says what to do."""

from pathlib import Path

import pytest

from orbit_server.errors import SearchError, SearchUnavailable
from orbit_server.retrieval.words.errors import translated
from orbit_server.retrieval.words.record import Unfit


@pytest.mark.parametrize(
    "raised",
    [
        OSError(28, "No space left on device"),
        ValueError("An IO error occurred: 'No space left on device (os error 28)'"),
    ],
)
def test_a_full_disk_is_not_a_broken_index(raised: Exception) -> None:
    """Writing the index anew, as for a broken one, would fail as well."""
    with (
        pytest.raises(SearchUnavailable, match=r"x\.words cannot be accessed: .*No space left"),
        translated(Path("x.words")),
    ):
        raise raised


@pytest.mark.parametrize(
    "raised", [Unfit("its record is missing"), ValueError("Data corrupted: meta.json")]
)
def test_a_broken_index_is_written_anew(raised: Exception) -> None:
    """The error names the command."""
    with (
        pytest.raises(SearchError, match="orbit collections reindex") as error,
        translated(Path("x.words")),
    ):
        raise raised
    assert not isinstance(error.value, SearchUnavailable)
