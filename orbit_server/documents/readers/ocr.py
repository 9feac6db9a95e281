"""Text recognition of scanned pages, by the program tesseract where it is installed."""

import shutil
import subprocess
from collections.abc import Sequence
from functools import cache

from ...errors import OrbitError, UnreadableDocument

DOTS_PER_INCH = 300  # what tesseract's documentation asks for
_PROGRAM = "tesseract"
_NAMES = {
    "ar": "ara",
    "ca": "cat",
    "cs": "ces",
    "da": "dan",
    "de": "deu",
    "el": "ell",
    "en": "eng",
    "es": "spa",
    "fi": "fin",
    "fr": "fra",
    "hi": "hin",
    "hu": "hun",
    "it": "ita",
    "ja": "jpn",
    "ko": "kor",
    "nl": "nld",
    "no": "nor",
    "pl": "pol",
    "pt": "por",
    "ro": "ron",
    "ru": "rus",
    "sv": "swe",
    "tr": "tur",
    "zh": "chi_sim",
}


def require(languages: Sequence[str]) -> None:
    """Raise ``OrbitError`` with what is to be installed to read pages in these languages."""
    if shutil.which(_PROGRAM) is None:
        raise OrbitError(
            "Text recognition needs the program tesseract, which is not installed"
            " (Debian and Ubuntu: apt install tesseract-ocr)."
        )
    missing = [_NAMES[code] for code in languages if _NAMES[code] not in _installed()]
    if missing:
        packages = " ".join(f"tesseract-ocr-{name.replace('_', '-')}" for name in missing)
        raise OrbitError(
            f"tesseract has no data for {', '.join(missing)} (Debian and Ubuntu: apt install"
            f" {packages})."
        )


def recognized(width: int, height: int, gray: bytes, languages: Sequence[str]) -> str:
    """Return the text of a picture, ``width`` times ``height`` bytes from black to white.

    Raises ``UnreadableDocument`` when tesseract fails.
    """
    # What it may cost is limited by this process's own limits, which it inherits.
    done = subprocess.run(  # noqa: S603 - our own words
        [
            *(shutil.which(_PROGRAM) or _PROGRAM, "stdin", "stdout", "--dpi", str(DOTS_PER_INCH)),
            *("-l", "+".join(_NAMES[code] for code in languages or ("en",))),
        ],
        input=b"P5 %d %d 255\n" % (width, height) + gray,
        capture_output=True,
        check=False,
        env={"OMP_THREAD_LIMIT": "1"},  # several files are read at once
    )
    if done.returncode != 0:
        raise UnreadableDocument("The text of a scanned page could not be recognized.")
    return done.stdout.decode(errors="replace").replace("\f", "")


@cache
def _installed() -> frozenset[str]:
    done = subprocess.run(  # noqa: S603 - our own words
        [shutil.which(_PROGRAM) or _PROGRAM, "--list-langs"],
        capture_output=True,
        text=True,
        check=False,
    )
    return frozenset(done.stdout.split())
