"""What models write around a reply: think blocks, taken off in one place for everybody.

A think block is ``<think>…</think>`` (or ``thinking``) at the very beginning. Some models write it
into the text itself, where Ollama does not know their form of it.
"""

import re

_BLOCK = re.compile(
    r"\s*<(?P<tag>think(?:ing)?)>(?P<thought>(?:(?!</?think).)*)</(?P=tag)>\s*",
    re.DOTALL | re.IGNORECASE,
)
_TAG = re.compile("<(think(?:ing)?)>", re.IGNORECASE)
_TAGS = ("<think>", "<thinking>")
_LONGEST_END = len("</thinking>")


def split_thought(reply: str) -> tuple[str, str]:
    """Return the thought that ``reply`` begins with, "" if none, and what comes after it.

    A block that is not finished, or holds another one, is no think block but text.
    """
    block = _BLOCK.match(reply)
    return (block["thought"], reply[block.end() :]) if block else ("", reply)


class ThoughtFilter:
    """Takes think blocks off the beginning of a text that comes in pieces; the rest is untouched.

    Text is held back only while it may still be the beginning of a block. ``deciding`` is False
    once the answer has begun; then nothing needs to go through the filter any more.
    """

    def __init__(self) -> None:
        self.deciding = True
        self._held = ""
        self._closing: re.Pattern[str] | None = None  # what ends the block, None outside of one
        self._searched = 0
        self._taken_off = False

    def feed(self, piece: str) -> str:
        """Return what is certain to belong to the answer, up to the end of ``piece``."""
        self._held += piece
        while self.deciding:
            if self._closing is not None:
                closing = self._closing.search(self._held, self._searched)
                if closing is None:
                    self._searched = max(0, len(self._held) - _LONGEST_END)
                    return ""
                self._held = self._held[closing.end() :]
                self._closing, self._searched, self._taken_off = None, 0, True
            text = self._held.lstrip()
            if tag := _TAG.match(text):
                self._closing = re.compile(f"</{tag[1]}>", re.IGNORECASE)
            elif any(tag.startswith(text.lower()) for tag in _TAGS):
                return ""
            else:
                self.deciding = False
                self._held = text if self._taken_off else self._held
        text, self._held = self._held, ""
        return text

    def end(self, *, cut: bool) -> str:
        """Return what was held back and belongs to the answer, now that the text has ended.

        A block without its end is a thought if the text was ``cut`` in it, else it is no block.
        """
        self.deciding = False
        text, self._held = self._held, ""
        if self._taken_off:
            text = text.lstrip()
        return "" if self._closing is not None and cut else text
