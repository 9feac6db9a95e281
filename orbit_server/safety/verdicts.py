"""How the replies of moderating models are read: only a clear yes counts.

``strict`` takes the documented reply of the model's family and nothing else; ``fuzzy`` also what
can mean nothing else. ``negatives`` knows the words of a no: one anywhere in a reply decides.
"""

import json
import re
import unicodedata
from collections.abc import Sequence
from typing import Literal

from ..llm.replies import split_thought
from .moderators import GENERIC, LLAMA_GUARD, Family
from .negatives import is_taken_back, says_no, without_markup
from .normalize import fold

Mode = Literal["strict", "fuzzy"]

CATEGORIES = tuple(f"S{number}" for number in range(1, 15))

_QUOTES = ('""', "''", "“”", "‘’")
_MARKS = "*_`\"'“”‘’„‟‚‛«»‹›〝〞〟❝❞❛❜′″"
_BLANK = " \t\r\n\f\v\u3000\xa0\ufeff\u200b\u200e\u200f\u2060"
_BEFORE = rf"[{_MARKS}(\[<【〔〖〘〚「『〈《⟨⟦❨]{{0,6}}"
_AFTER = rf"[{_MARKS})\]>】〕〗〙〛」』〉》⟩⟧❩]{{0,6}}"
# Signs of a yes, in colours of skin; any other sign makes a verdict unclear.
_APPROVAL = (
    r"(?:\s*[✅✔☑👍👌👏🙌🙏💪🤝🆗🆒🟢💚💙💛❤💖💯😊🙂😀😃😄😁☺🤗😇🥳🤩🎉🎊✨🌟⭐🌈☀🌞🏆📚🕊]"
    r"[\ufe0f\U0001f3fb-\U0001f3ff]?){1,4}"
)

_OPENING = r"(?:[>#*+-]{1,6}\s{1,9}){0,3}(?:```[a-z]{0,9}\s{1,9})?"
_LABEL = re.compile(
    rf"{_OPENING}{_BEFORE}(?:(?:the|my|final|safety|overall)\s{{1,3}}){{0,3}}"
    r"(?:answer|verdict|result|response|reply|output|decision|assessment|evaluation|classification"
    r"|judge?ment|conclusion|rating|antwort|urteil|ergebnis|réponse|résultat|respuesta|resultado"
    r"|risposta|resposta|ответ|вердикт|答案|回答|结果|判定|結果|판정|الجواب)"
    rf"{_AFTER}\s{{0,3}}[:=]{_AFTER}\s{{0,9}}",
    re.IGNORECASE,
)
_IS = (
    rf"(?:\s{{0,9}}(?:[:=,;|/→⇒]{{1,2}}|[=-]>)[{_MARKS}]{{0,6}}\s{{0,9}}"
    r"|\s{1,9}[–—-]\s{1,9}|[–—-]|\s{1,9}is\s{1,9}|\s{1,9})"
)
_YES = re.compile(
    rf"{_OPENING}{_BEFORE}(?:safe{_AFTER}{_IS}{_BEFORE}true|<safe>\s?true\s?</safe>){_AFTER}",
    re.IGNORECASE,
)
_WHAT = (
    r"(?:it|this|(?:the|this|your|that)\s(?:(?:user(?:['’]?s)?|given|provided|above)\s){0,2}"
    r"(?:query|question|text|message|request|input|prompt|content))"
)
_FULLY = r"(?:(?:completely|entirely|perfectly|totally|absolutely|clearly)\s)?"
_TO_ANSWER = r"(?:\s(?:to\s(?:answer|respond\sto|reply\sto|process)|for\sanswering))?"
# A yes without its true: only where nothing but a sign of approval follows.
_BARE = re.compile(
    rf"{_OPENING}{_BEFORE}(?:{_WHAT}\sis\s{_FULLY}[*_]{{0,3}})?safe{_TO_ANSWER}{_AFTER}",
    re.IGNORECASE,
)
_OBJECT = re.compile(rf"{_OPENING}[{_MARKS}]{{0,6}}(?=\{{)", re.IGNORECASE)
_IN_BRACES = re.compile(r"\{([\w\s:=]*)\}([.!]?)")
_DONE = re.compile(rf"{_AFTER}\s*(?:[.。]|!{{1,3}})?{_AFTER}(?:{_APPROVAL})?\s*[.!]?\s*(?:```)?\s*")
_EXPLAINED = re.compile(
    rf"{_AFTER}\s*```\s|{_AFTER}(?:[.。]|!{{1,3}}){_AFTER}(?:{_APPROVAL})?(?:\s|(?<=。))"
    rf"|{_AFTER}(?:{_APPROVAL})?(?:\s*\n|\s*[;(,—–](?=\W*\w)|\s+-\s|\s+because\b)",
    re.IGNORECASE,
)
_THINK_TAG = re.compile(r"<\W*(?:think|thought|reason)")
_CONFIDENCE = re.compile(r"\s*<confidence>\s*(?:high|low)\s*</confidence>$")

_EXPLANATIONS = frozenset(
    ("reason", "reasons", "reasoning", "explanation", "rationale", "comment", "note", "notes")
)
_FINDINGS = frozenset(("category", "categories", "violations", "violated_categories"))
_NOTHING = frozenset(("", "none", "n/a", "null"))


def read_reply(
    reply: str, mode: Mode, family: Family, categories: Sequence[str] = ()
) -> tuple[bool, str]:
    """Return ``(safe, reason)``; ``reason`` is "" for a safe text, else as in ``guard.Verdict``.

    ``strict`` takes the documented reply, blank space around it and (for a generic model) one pair
    of quotes aside. ``fuzzy`` forgives case, spacing, Markdown, quotes, brackets, a label before, a
    full stop, an exclamation mark, a finished think block and, for a generic model, JSON, another
    sign for the colon, the bare word or a plain sentence ("The query is safe."), a sign of approval
    and an explanation after the verdict. ``categories`` are the llama-guard3 codes that block; none
    given, all do.
    """
    if mode == "fuzzy":
        reply = unicodedata.normalize("NFKC", reply).strip(_BLANK)
    if mode == "fuzzy" and family is GENERIC:
        verdict = _fuzzy(reply)
        return verdict is True, {True: "", False: "moderator", None: "unreadable"}[verdict]
    if mode == "fuzzy":
        thought, reply = split_thought(reply)
        if _closes_with(thought, family.unsafe):
            return False, "unreadable"
        said, safe, unsafe = _tidy(reply), _tidy(family.safe), _tidy(family.unsafe)
    else:
        said, safe, unsafe = reply.strip(), family.safe, family.unsafe
    if family is GENERIC and said[:1] + said[-1:] in _QUOTES and len(said) > 1:
        said = said[1:-1].strip()
    if said == safe:
        return True, ""
    if said == unsafe:
        return False, "moderator"
    if family is LLAMA_GUARD:
        return _read_categories(said, mode, unsafe, categories)
    return False, "unreadable"


def _read_categories(
    said: str, mode: Mode, unsafe: str, categories: Sequence[str]
) -> tuple[bool, str]:
    head, _, rest = said.partition("\n" if mode == "strict" else " ")
    codes = rest.split(",")
    if mode == "fuzzy":
        codes = [code.strip().upper() for code in codes]
    if head != unsafe or not set(codes) <= set(CATEGORIES):
        return False, "unreadable"
    blocking = [code for code in codes if code in categories] if categories else codes
    return not blocking, f"category {','.join(blocking)}" if blocking else ""


def _fuzzy(reply: str) -> bool | None:
    """Return True for a clear yes, False where a no is in it anywhere, None for neither."""
    thought, text = split_thought(reply)
    if _closes_with(thought, "false") or _closes_with(thought, "unsafe"):
        return False
    text = text.strip(_BLANK)
    if label := _LABEL.match(text):
        text = text[label.end() :]
    rest, data, bare = None, "", False
    if opening := _OBJECT.match(text):
        rest, data = _safe_object(text[opening.end() :])
        if rest is None and (braces := _IN_BRACES.fullmatch(text)):
            text = braces[1].strip() + braces[2]
    if rest is None and (yes := _YES.match(text)):
        rest = text[yes.end() :]
    # The bare word after a thought may be all that the limit of tokens left of "SAFE: false".
    elif rest is None and not thought and (yes := _BARE.match(text)):
        rest, bare = text[yes.end() :], True
    if says_no(f"{text} {data}"):
        return False
    if rest is None or _THINK_TAG.search(without_markup(text)):
        return None
    if _DONE.fullmatch(rest):
        return True
    if not bare and (explained := _EXPLAINED.match(rest)):
        return None if is_taken_back(rest[explained.end() :]) else True
    return None


def _safe_object(text: str) -> tuple[str | None, str]:
    """Return what follows the JSON object if it says safe, else None; and its content unescaped."""
    try:
        pairs, end = json.JSONDecoder(object_pairs_hook=list).raw_decode(text)
    except (ValueError, RecursionError):
        return None, ""
    said = [value for key, value in pairs if fold(key) == "safe"]
    yes = len(said) == 1 and (
        said[0] is True or (isinstance(said[0], str) and said[0].strip().casefold() == "true")
    )
    others = all(_is_aside(fold(key), value) for key, value in pairs if fold(key) != "safe")
    return text[end:] if yes and others else None, json.dumps(pairs, ensure_ascii=False)


def _is_aside(key: str, value: object) -> bool:
    if key in _FINDINGS:
        if value is None or isinstance(value, list):
            return not value
        return isinstance(value, str) and fold(value) in _NOTHING
    return key in _EXPLANATIONS and isinstance(value, str) and not is_taken_back(value)


def _closes_with(thought: str, unsafe: str) -> bool:
    """Return whether a think block ends with the unsafe verdict, so against a yes after it."""
    return fold(thought).rstrip(" .!*_`\"'").endswith(fold(unsafe))


def _tidy(reply: str) -> str:
    """Return the bare words of a guard model's reply in one case."""
    text = _CONFIDENCE.sub("", " ".join(reply.casefold().split()))
    text = re.sub(r"(?<=>) | (?=<)", "", text)
    if label := _LABEL.match(text):
        text = text[label.end() :]
    text = text.strip(_BLANK + _MARKS)
    text = re.sub(r"(?<![.!])(?:\.|!{1,3})$", "", text).rstrip(_MARKS)
    if text[:1] + text[-1:] in ("()", "[]", "【】", "「」") and len(text) > 1:
        text = text[1:-1].strip(_BLANK + _MARKS)
    return text
