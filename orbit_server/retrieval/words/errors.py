"""What goes wrong with a word index, as errors that say what to do."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...errors import SearchError, SearchUnavailable
from .record import Unfit

_OF_THE_MACHINE = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EMFILE, errno.ENFILE)
)
_OS_ERROR = re.compile(r"\(os error (\d+)\)")  # in what Rust says


class WordsUnavailable(SearchUnavailable):
    """What holds the word indexes does not answer; they may be whole, and there is no mending."""


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn what tantivy and the file system raise into the error tree."""
    try:
        yield
    except OSError as error:
        raise SearchUnavailable(f"The word index {path} cannot be accessed: {error}") from error
    except BaseException as error:
        # A panic in tantivy's Rust arrives as a class of its own that is no Exception.
        if not isinstance(error, ValueError | Unfit) and type(error).__name__ != "PanicException":
            raise
        number = next(map(int, _OS_ERROR.findall(str(error))), 0)
        if number in _OF_THE_MACHINE:  # writing it anew would fail as well
            raise SearchUnavailable(
                f"The word index {path} cannot be accessed: {os.strerror(number)}"
            ) from error
        raise SearchError(
            f"The word index {path} cannot be used ({error}). Rebuild it with"
            " `orbit collections reindex`."
        ) from error
