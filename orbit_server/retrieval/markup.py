"""HTML in stored answers becomes text: such files come from web sites, and readers see the tags."""

import html
import re

_CODE = re.compile(r"(```[^`]*(?:`{1,2}[^`]+)*```|`[^`\n]*`)")
_TAGS = (
    "a|abbr|address|article|b|blockquote|br|code|dd|div|dl|dt|em|figure|h[1-6]|hr|i|img|li|ol|p|pre|"
    "section|small|span|strong|sub|sup|table|tbody|td|tfoot|th|thead|tr|u|ul"
)
_TAG = re.compile(rf"<(/?)({_TAGS})(?:\s[^<>]*)?/?>", re.IGNORECASE)
_HIDDEN = re.compile(r"<(script|style)\b[^<>]*>|<!--", re.IGNORECASE)
_ENDS = {
    "script": re.compile("</script>", re.IGNORECASE),
    "style": re.compile("</style>", re.IGNORECASE),
    "comment": re.compile("-->"),
}
_HREF = re.compile(r"""\bhref\s*=\s*(?:"([^"]*)"|'([^']*)')""", re.IGNORECASE)
_LINK = re.compile(r"<a(\s[^<>]*)>([^<]*)</a\s*>", re.IGNORECASE)
# Without a tag, &lt; and &gt; are probably meant: a text about HTML.
_ENTITY = re.compile(r"&(?!lt;|gt;)(?:#[0-9]{1,7}|#x[0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_BLOCKS = {"address", "article", "blockquote", "div", "dl", "figure", "hr", "ol", "p", "pre"} | {
    *("section", "table", "ul", "h1", "h2", "h3", "h4", "h5", "h6")
}
_LINES = {"br", "tr", "dd", "dt"}


def plain(text: str) -> str:
    """Return ``text`` without HTML tags and entities; what holds none is returned as it is.

    Only the tags of running text count, so that ``List<String>`` stays, and code in backticks is
    left alone. The address of a link follows its text in brackets.
    """
    if "<" not in text and "&" not in text:
        return text
    parts = _CODE.split(text)
    shown = [_shown(part) for part in parts[::2]]
    tagged = shown != parts[::2] or any(_TAG.search(part) for part in shown)
    parts[::2] = [_stripped(part) if tagged else _ENTITY.sub(_character, part) for part in shown]
    changed = "".join(parts)
    if not tagged:
        return changed
    changed = re.sub(r"[ \t]+\n|\n[ \t]+", "\n", changed)
    return re.sub(r"\n{3,}", "\n\n", changed).strip()


def _shown(part: str) -> str:
    """Return ``part`` without scripts, styles and comments; one that never ends is text."""
    kept, at = [], 0
    endless = set[str]()
    for begin in _HIDDEN.finditer(part):
        name = (begin[1] or "comment").lower()
        if begin.start() < at or name in endless:
            continue
        end = _ENDS[name].search(part, begin.end())
        if end is None:
            endless.add(name)  # searched for once, or many beginnings would cost their square
            continue
        kept.append(part[at : begin.start()])
        at = end.end()
    return "".join([*kept, part[at:]])


def _stripped(part: str) -> str:
    return html.unescape(_TAG.sub(_separator, _LINK.sub(_link, part)))


def _separator(tag: re.Match[str]) -> str:
    name, closes = tag[2].lower(), bool(tag[1])
    if name in _BLOCKS:
        return "\n\n"
    if name in _LINES:
        return "" if closes else "\n"
    if name == "li":
        return "" if closes else "\n- "
    if name in ("td", "th"):
        return " " if closes else ""
    return ""


def _link(link: re.Match[str]) -> str:
    found = _HREF.search(link[1])
    address = (found[1] or found[2] or "").strip() if found else ""
    says = link[2].strip()
    if not address.lower().startswith(("http://", "https://", "mailto:")) or address == says:
        return link[2]
    return f"{link[2]} ({address})"


def _character(entity: re.Match[str]) -> str:
    return html.unescape(entity[0])
