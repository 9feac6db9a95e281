"""What a page is about, without the menus, banners and footers around it.

Judged on 505 pages of seven kinds (the test split of WCXB, https://github.com/Murrough-Foley/
web-content-extraction-benchmark): F1 of words is .60 for all that a browser shows, .73 for what
stands neither in a menu nor in a banner by the names of elements, and .87 with trafilatura (the
extra ``sites``). That alone loses most of 9 % of the pages, of lists above all; so where it keeps
much less than the names do, the names decide, and 4 % lose so much.
"""

import logging
import re
from collections.abc import Callable, Iterator, Sequence

from ..model import Block, Document
from ..readers import html
from ..readers.outline import BLOCKS

_AROUND = frozenset(("nav", "footer", "aside", "dialog", "button", "select"))
_CONTENT = frozenset(("html", "body", "main", "article", "h1"))
_PARTS = frozenset(("main", "article", "section"))
_ROLES = frozenset(
    ("alertdialog", "banner", "complementary", "contentinfo", "dialog", "menu", "menubar")
) | {"navigation", "search"}
_NAMED = re.compile(
    r"(?:^|[\s_-])(?:nav(?:igation|bar)?|menu|breadcrumbs?|footer|side-?bar|cookies?|consent|gdpr"
    r"|masthead|newsletter|shar(?:e|ing)|social|related|skip-?(?:links?|nav|to)|pagination|pager)"
    r"(?:$|[\s_-])"
)
_BANNER = re.compile(r"(?:^|[\s_-])(?:cookies?|consent|gdpr)(?:$|[\s_-])")
_LONGEST_NAME = 200
_LEAST_MAIN = 200  # characters, for what is called the main part to be it
_LEAST_SHARE = 0.4
_ALMOST_ALL = 0.9
_SHORT = 250  # characters: with less, trafilatura takes all there is
_WORDS_TOGETHER = 3


def main_content(markup: str) -> Document:
    """Return the page with its main content. Raises ``UnreadableDocument``."""
    page = _Part(markup, _is_banner).finished()
    main = _without_surroundings(markup)
    chosen = _chosen(markup, page.blocks)
    if _is_last_resort(chosen, main, page.blocks):
        chosen = []
    blocks = chosen if _length(chosen) > _LEAST_SHARE * _length(main) else main
    return Document(page.title, blocks or page.blocks)


def _is_last_resort(
    chosen: Sequence[Block], main: Sequence[Block], visible: Sequence[Block]
) -> bool:
    """Whether all was kept of a short page: trafilatura does that where it finds little content.

    The names decide then, unless they leave little of the page too, and may mislead.
    """
    everything = _length(chosen) >= _ALMOST_ALL * _length(visible)
    believable = _length(main) > _LEAST_SHARE * _length(visible)
    return everything and believable and _length(main) < _SHORT


def _length(blocks: Sequence[Block]) -> int:
    return sum(len(block.text) for block in blocks)


def _chosen(markup: str, visible: Sequence[Block]) -> list[Block]:
    """Return what trafilatura takes for content, without what is not ``visible``; none without it.

    It does not know what a browser hides.
    """
    try:
        import trafilatura
    except ImportError:
        return []
    logging.getLogger("trafilatura").setLevel(logging.CRITICAL)
    found = trafilatura.extract(
        markup, output_format="html", include_comments=False, include_tables=True
    )
    shown = "\n".join(f"{block.heading}\n{block.text}" for block in visible)
    known = {n: set(_together(shown, n)) for n in range(1, _WORDS_TOGETHER + 1)}
    kept = []
    for block in html.parse(found or "").blocks:
        n = min(_WORDS_TOGETHER, len(_words(block.text)))
        groups = list(_together(block.text, n)) if n else []
        if sum(group in known[n] for group in groups) > len(groups) / 2:
            kept.append(block)
    return kept


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _together(text: str, n: int) -> Iterator[tuple[str, ...]]:
    words = _words(text)
    return (tuple(words[start : start + n]) for start in range(len(words) - n + 1))


def _without_surroundings(markup: str) -> list[Block]:
    within = _Part(markup, _is_around, within_main=True).finished().blocks
    if _length(within) >= _LEAST_MAIN:
        return within
    return _Part(markup, _is_around).finished().blocks


def _is_around(tag: str, attributes: html.Attributes, above: Sequence[str]) -> bool:
    if tag in _CONTENT:
        return False
    if tag in _AROUND or (tag == "header" and not _PARTS.intersection(above)):
        return True
    return dict(attributes).get("role") in _ROLES or _NAMED.search(_names(attributes)) is not None


def _is_banner(tag: str, attributes: html.Attributes, above: Sequence[str]) -> bool:
    if tag in _CONTENT:
        return False
    return tag == "dialog" or _BANNER.search(_names(attributes)) is not None


def _names(attributes: html.Attributes) -> str:
    values = {name: (value or "")[:_LONGEST_NAME] for name, value in attributes}
    return f"{values.get('class', '')} {values.get('id', '')}".lower()


class _Part(html.Page):
    """The part of a page that ``left_out`` leaves: it is asked of each element and those above.

    With ``within_main`` only what the page itself calls its main part.
    """

    def __init__(
        self,
        markup: str,
        left_out: Callable[[str, html.Attributes, Sequence[str]], bool],
        *,
        within_main: bool = False,
    ) -> None:
        super().__init__()
        self._left_out = left_out
        self._within_main = within_main
        self._mains: list[int] = []  # where on the stack of open elements they stand
        self.markup(markup)

    def handle_starttag(self, tag: str, attrs: html.Attributes) -> None:
        asked = self._hidden_at is None and tag in BLOCKS | _AROUND
        if asked and self._left_out(tag, attrs, self._open):
            attrs = [("hidden", "")]
        depth = len(self._open)
        super().handle_starttag(tag, attrs)
        is_main = tag == "main" or ("role", "main") in attrs
        if is_main and self._hidden_at is None and len(self._open) > depth:
            self._mains.append(len(self._open) - 1)

    def handle_data(self, data: str) -> None:
        if self._mains or not self._within_main or "title" in self._open:
            super().handle_data(data)

    def _close_from(self, index: int) -> None:
        super()._close_from(index)
        while self._mains and self._mains[-1] >= len(self._open):
            self._mains.pop()
