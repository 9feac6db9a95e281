"""Where sentences end: abbreviations, initials, ordinals and decimals end none."""

import re
from collections.abc import Iterator

_BOUNDARY = re.compile(
    r"(?<=[.!?…]) |(?<=[.!?…][\"'”’»›)\]]) "
    r"|(?<=[。！？])(?![。！？」』”’）]) ?|(?<=[。！？][」』”’）])(?![。！？」』”’）]) ?"
)
_ABBREVIATIONS = frozenset(
    """mr. mrs. ms. dr. prof. rev. hon. st. no. nos. fig. vs. etc. e.g. i.e. cf. approx. ca. inc.
    ltd. co. corp. dept. est. tel. ext. art. sec. vol. pp. ed. eds. jan. feb. mar. apr. jun.
    jul. aug. sep. sept. oct. nov. dec. nr. z.b. d.h. u.a. o.ä. bzw. usw. evtl. ggf. inkl.
    zzgl. str. abs. bspw. hr. frl. geb. vgl. max. min. mind. mme. mlle. av. bd. env. p.ex.
    p.ej. sr. sra. srta. núm. pág. ud. uds. sig. dott. ecc. pag. dhr. mw. bijv.""".split()  # noqa: SIM905 - easier to read as words
)


def sentences(line: str) -> Iterator[tuple[str, str]]:
    """Yield each sentence of ``line``, and before it what joins it to the one before."""
    start, glue = 0, ""
    for boundary in _BOUNDARY.finditer(line):
        if boundary.end() < len(line) and not _goes_on(line, start, boundary):
            yield glue, line[start : boundary.start()]
            start, glue = boundary.end(), boundary.group()
    yield glue, line[start:]


def _goes_on(line: str, start: int, boundary: re.Match[str]) -> bool:
    if line[boundary.end()].islower():
        return True
    word = line[max(start, line.rfind(" ", start, boundary.start()) + 1) : boundary.start()]
    word = word.lstrip("([{\"'„“”‘«‹").casefold()
    if not word.endswith("."):
        return False
    initial_or_ordinal = (word[:-1].isdigit() and len(word) <= 3) or (
        word[:-1].isalpha() and len(word) == 2
    )
    return initial_or_ordinal or word in _ABBREVIATIONS
