"""Mark untrusted text in prompts: random delimiters, no chat-template tokens."""

import re
import secrets
import unicodedata

from ..characters import EMOJI_SELECTORS, FILLERS, INVISIBLE, JOINERS

_UNSEEN = "\u200b"
_IS_UNSEEN = re.compile(f"[{INVISIBLE}{JOINERS}{EMOJI_SELECTORS}{FILLERS}]")
_PIPES = "|¦ǀ∣│❘⏐┃"
# Chat templates mark roles with tokens of a few forms: <|…|>, [|…|], <word>, </word>, <[…]>,
# [INST], [/INST], [gMASK]. A list of them would never be complete.
_FORMS = re.compile(
    rf"<(?={_UNSEEN}*[|/\w\[])|[\[({{](?={_UNSEEN}*\|)"
    rf"|\[(?={_UNSEEN}*/?(?:{_UNSEEN}*[a-z]){{0,2}}{_UNSEEN}*[A-Z]{_UNSEEN}*[A-Z_])"
)
_OPENINGS = "<[({"


class _Shadows(dict[int, str]):
    """For each character the one that a tokenizer may read it as: full-width ones, look-alikes."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        if character in _PIPES:
            shadow = "|"
        elif _IS_UNSEEN.match(character):
            shadow = _UNSEEN
        else:
            shadow = unicodedata.normalize("NFKC", character)[:1]
        self[code] = shadow
        return shadow


_SHADOWS = _Shadows()


def delimiter() -> str:
    """Return a line for before and after a text, new every time so that no text can contain it."""
    return f"====={secrets.token_hex(16)}====="


def without_roles(text: str) -> str:
    """Return ``text`` with a blank in everything that a chat template might take for a role.

    It stays readable: of "[NOTE]" comes "[ NOTE]", and "[1]" and links stay as they are.
    """
    if text.isascii():
        if not any(opening in text for opening in _OPENINGS):  # most texts, and much sooner told
            return text
        return _FORMS.sub(r"\g<0> ", text)
    ends = [form.end() for form in _FORMS.finditer(text.translate(_SHADOWS))]
    return " ".join(text[start:end] for start, end in zip([0, *ends], [*ends, None], strict=True))
