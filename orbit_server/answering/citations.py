"""Which of the passages an answer refers to by markers such as ``[1]``. Reads, never rewrites."""

import re

_BLANK = r"[^\S\n]*"
_INDEX = r"\[[^\[\]\n]*\]"
_LINE_START = r"^(?:[ \t>*+-]|[0-9]{1,9}[.)][ \t])*"
_FENCED = (
    rf"{_LINE_START}(?P<fence>`{{3,}}(?=[^`\n]*$)|~{{3,}})[^\n]*"
    rf"(?:\n(?![ \t>]*(?P=fence)[`~]*{_BLANK}$)[^\n]*)*(?:\n[^\n]*)?"
)
_CODE = (
    r"(?<![`\\])(?P<ticks>`+)(?!`)"
    rf"(?:(?!\n{_BLANK}\n)[\s\S]){{1,2000}}?(?<!`)(?P=ticks)(?!`)"
)
_DEFINITION = rf"{_LINE_START}{_INDEX}[:：]"
_TARGET = r"(?:<[^<>\n]*>|[^\s()]*(?:\([^\s()]*\)[^\s()]*)*)"
_TITLE = r"""(?:\s+(?:"[^"\n]*"|'[^'\n]*'))?"""
_LINK = rf"\[[^\[\]\n]*(?:{_INDEX}[^\[\]\n]*)*\]\({_TARGET}{_TITLE}\s*(?:\)|\Z)"
_NUMBER = r"[1-9][0-9]{0,3}"
_RANGE = rf"{_NUMBER}(?:\s?[-‐‑–—−]\s?{_NUMBER})?"
_LIST = rf"\s?{_RANGE}(?:\s?[,;，；、]\s?{_RANGE})*\s?"
_REFERENCE = rf"\[(?!{_LIST}\])[^\[\]\n]*\](?:{_INDEX})+"
_ADDRESS = r"\b[a-z]{2,9}://[^\s<>]+"
_INDEXED = (
    rf"(?<!\w)[A-Za-z](?:{_INDEX})+"
    rf"|(?<!\w)_*+[A-Za-z][A-Za-z0-9_]*+(?:\(\))?(?:{_INDEX})++(?![.!?](?:\s|\Z))"
)

_OTHERWISE = re.compile(
    "|".join((_FENCED, _CODE, _DEFINITION, _LINK, _REFERENCE, _ADDRESS, _INDEXED)),
    re.MULTILINE,
)
# Each of them has one of these in it, which is told much sooner.
_SIGNS = ("`", "~~~", "]:", "]：", "](", "][", "://")
_INDEX_OF_A_WORD = re.compile(r"\[(?<=[A-Za-z0-9_)]\[)")
_MARKER = re.compile(rf"(?<!\\)(?:\[{_LIST}\]|[【［]{_LIST}[】］])")
_ITEM = re.compile(rf"({_NUMBER})(?:\s?[-‐‑–—−]\s?({_NUMBER}))?")


def cited(text: str, count: int) -> list[int]:
    """Return the passages, numbered 1 to ``count``, that ``text`` cites, in order and each once.

    Markers are ``[1]``, lists ``[1, 3]`` and ranges ``[1-3]`` of them, and the same in full-width
    brackets. A number or range that is not wholly within 1 to ``count`` is none. Neither is what
    has another meaning in Markdown or code: fenced and inline code (an indented paragraph is text),
    links, definitions such as ``[1]: …``, addresses, and an index such as ``a[1]``. Straight
    after a word a marker counts only where the sentence ends, as in ``at nine[1].``
    """
    found: dict[int, None] = {}
    if any(sign in text for sign in _SIGNS) or _INDEX_OF_A_WORD.search(text):
        text = _OTHERWISE.sub("\0", text)
    for marker in _MARKER.finditer(text):
        for item in _ITEM.finditer(marker[0]):
            first = int(item[1])
            last = int(item[2] or first)
            if last <= count:
                found |= dict.fromkeys(range(first, last + 1))
    return list(found)
