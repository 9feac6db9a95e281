"""The words of a no: what makes the reply of a moderating model anything but a clear yes.

Texts are looked at in their folded form and without markup: isn't is isnt there, un_safe unsafe.
"""

import re

from .normalize import fold

_UNSAFE_ELSEWHERE = (
    "不安全",
    "安全ではない",
    "安全ではありません",
    "安全でない",
    "안전하지 않",
    "غير آمن",
    "असुरक्षित",
    "सुरक्षित नहीं",
    "небезопасн",
    "не безопасн",
    "unsicher",
    "gefährlich",
    "schädlich",
    "insegur",
    "peligros",
    "dangereu",
    "pericolos",
    "опасн",
    "вредн",
    "non sûr",
    "güvenli değil",
    "有害",
    "危险",
    "危険",
    "위험",
    "いいえ",
    "아니",
    *"❌✗✘✖❎⛔🚫🛑⚠👎☠",
)
_NO_ELSEWHERE = (
    "nein",
    "non",
    "não",
    "nej",
    "нет",
    "否",
    "不",
    "falso",
    "falsch",
    "faux",
    "ложь",
    "لا",
)


_DIGITS = {"a": "[a4]", "e": "[e3]", "l": "[l1]", "s": "[s5]", "t": "[t7]", "o": "[o0]"}


def _spaced(word: str) -> str:
    return r"\W*".join(_DIGITS.get(letter, letter) for letter in word)


_NOT = (
    r"(?:not|never|nor|neither|cannot|hardly|barely|scarcely|rarely|seldom"
    r"|(?:is|are|was|do|does|did|ca|could|would|wo|ai)nt)"
)
_THEREFORE = r"(?:so|hence|thus|therefore) (?:it|this|the|that|i)\b"
_AND = "(?:and|so|but|as|since|because|it|this|that|hence|thus|therefore)"
_HARM = (
    r"(?:harm(?:s|ful|fully|ing)?|danger\w*|hazard\w*|malicious|toxic|illegal|inappropriate"
    r"|unacceptable|insecure|refus\w*|reject\w*|violat\w*|prohibit\w*|forbid\w*)"
)
# A no to harm is a yes: "not harmful", "nothing harmful or illegal", "no harmful content".
_HARMLESS = re.compile(
    rf"\b(?:{_NOT}|no|nothing|without|free (?:of|from))"
    r"(?: (?!(?:but|it|its|this|that|is|only|just|merely|doubt|question|less|yet|so)\b)\w+){0,6}?"
    rf" {_HARM}\b(?:,? (?:or|and|nor) {_HARM}\b|, {_HARM}\b)*"
)
_HARMFUL = re.compile(
    rf"\b{_HARM}\b|\b{_NOT}(?: (?:\w+ ){{0,3}}|\W+)harmless|\bs(?:1[0-4]|[1-9])\b"
)
# Looked for in the folded reply without quotes and Markdown: isn't is isnt there, un_safe unsafe.
_NEGATIVE = re.compile(
    "|".join(
        (
            _spaced("unsafe"),
            _spaced("notsafe"),
            rf"\b{_NOT}(?:[^\w.!?;]+(?!{_THEREFORE})\w+){{0,15}}?[^\w.!?;]+safe",
            r"\bno\W+safe|\bno (?:means|way)\b",
            rf"safe\W*[:=]?\W*{_spaced('false')}|\b{_spaced('false')}\b",
            r"safe\W{0,4}?[:=?→-]\W*+(?!true(?![\w?-]))",
            r"safe\W{1,4}is\W{1,4}(?!true(?![\w?-]))",
            r"safe[^\w.!;]{1,6}(?:nop?e?|nein|never|untrue|negative|n/a|0)\W*?(?:$|[.!,;\n])",
            rf"\b{_NOT}\W{{1,4}}true\b|\buntrue\b",
            rf"\b(?:no|none|nobody|nothing)(?: (?!{_AND}\b)\w+){{0,4}} safe\b",
            rf"\bsafe(?: (?!{_AND}\b)\w+){{0,3}} (?:not|never)\b",
            r"\bsafe (?:it|this|that) is not\b|\bsafe for (?:nobody|no ?one|none)\b",
            r"\bnon\W*safe|\b(?:anything but|far from|opposite|contrary)\b",
            r"\b(?:verdict|answer|decision|result)\W{0,3}[:=]",
            r"\b(?:do|must|should|may) ?not (?:be )?(?:answer|respon|repl|assist|help|comply)",
            r"\b(?:no|nao) (?:\w+ ){0,4}segur|\bnon (?:\w+ ){0,4}sicur|\bpas (?:\w+ ){0,4}surs?\b",
            r"\bnicht (?:\w+ ){0,4}sicher",
            r"\b(?:wrong|incorrect|kidding|joking|correction|wait|rejected|denied|blocked|disallowed)\b",
            r"\bsorry\b|\bapologi[sz]e\b|\bunable to\b|\bas an ai\b",
            r"\bi (?:can ?not|cant|wont|will not|am not able|must decline|decline|refuse)\b",
            r"\bim (?:not able|not allowed|refusing|declining)\b",
            *(re.escape(fold(words)) for words in _UNSAFE_ELSEWHERE),
        )
    )
)
_MARKUP = re.compile("[*_`~\"'“”‘’„«»]")
_TAKEN_BACK = re.compile(
    r"\W*(?:(?:but|if|unless|except|only|or|provided|assuming|though|although|not|nope|never"
    r"|however|actually|in fact|in truth|hm+|just|is|was|are|would|will|that would|which|yet|still"
    r"|negative|maybe|perhaps|probably|possibly|presumably|mostly|mainly|largely|partly|partially"
    r"|almost|nearly|hardly|barely|somewhat|sometimes|semi|isnt|wasnt|arent|0|un(?:clear|sure|certain)?"
    r"|in (?:part|theory|doubt|most)|for (?:now|adults|some|most))\b|[^\w\n]*[≠¬~]"
    rf"|(?:f|no?|{'|'.join(map(fold, _NO_ELSEWHERE))})\W*(?:$|really|actually))"
)


def without_markup(text: str) -> str:
    """Return ``text`` folded, without quotes and Markdown."""
    return _MARKUP.sub("", fold(text))


def says_no(text: str) -> bool:
    """Return whether there is a no anywhere in ``text``, or harm that is not denied."""
    bare = without_markup(text)
    return bool(_NEGATIVE.search(bare) or _HARMFUL.search(_HARMLESS.sub("", bare)))


def is_taken_back(explanation: str) -> bool:
    """Return whether what follows a yes begins by limiting it or taking it back."""
    return _TAKEN_BACK.match(without_markup(explanation)) is not None
