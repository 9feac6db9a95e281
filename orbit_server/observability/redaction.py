"""Redact personal data in a text before it is written to the log."""

import re
from collections.abc import Callable, Sequence

Redact = Callable[[str], str]

_EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
_CARD = re.compile(r"(?<![\w-])\d(?:[ -]?\d){12,18}(?![\w-])")
_IBAN = re.compile(r"(?<!\w)[A-Za-z]{2}\d{2}(?: ?[A-Za-z0-9]){11,30}(?!\w)")
_PHONE = re.compile(r"(?<![\w/.-])(?:\+|00)?\(?\d[\d()/ .-]{5,18}\d(?![\w-])")
_DATE = re.compile(r"\d{4}-\d\d?-\d\d?|\d\d?\.\d\d?\.(?:\d{4}|\d\d)?|\d\d?/\d\d?/(?:\d{4}|\d\d)")

PATTERNS = ("email", "phone", "card", "iban")


def redactor(names: Sequence[str]) -> Redact:
    """Return the function that replaces what ``names`` stand for by a word in square brackets.

    A name is one of ``PATTERNS``, or a regular expression between slashes. Card numbers count with
    a right check digit only, IBANs with right check digits. Raises ``ValueError`` for an unknown
    name and ``re.error`` for a broken expression.
    """
    own = []
    for name in names:
        if len(name) > 2 and name.startswith("/") and name.endswith("/"):
            own.append(re.compile(name[1:-1]))
        elif name not in PATTERNS:
            raise ValueError(
                f"{name!r} is none of {', '.join(PATTERNS)}, nor a /regular expression/"
            )

    def redact(text: str) -> str:
        for pattern in own:
            text = pattern.sub("[redacted]", text)
        if "email" in names:
            text = _EMAIL.sub("[email]", text)
        if "iban" in names:
            text = _IBAN.sub(lambda match: _iban(match.group()), text)
        if "card" in names:
            text = _CARD.sub(lambda match: _if(_passes_luhn, match.group(), "[card]"), text)
        if "phone" in names:
            text = _PHONE.sub(lambda match: _if(_may_be_phone, match.group(), "[phone]"), text)
        return text

    return redact


def _if(test: Callable[[str], bool], found: str, replacement: str) -> str:
    return replacement if test(found) else found


def _digits(text: str) -> str:
    return re.sub(r"\D", "", text)


def _passes_luhn(text: str) -> bool:
    # ISO/IEC 7812-1, annex B: every second digit from the right is doubled.
    total = 0
    for place, digit in enumerate(reversed(_digits(text))):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _iban(found: str) -> str:
    # What follows an IBAN may look like a part of it: try the longest first, whole groups only.
    for end in [len(found), *(m.start() for m in reversed(list(re.finditer(" ", found))))]:
        if _passes_mod_97(found[:end]):
            return "[iban]" + found[end:]
    return found


def _passes_mod_97(text: str) -> bool:
    # ISO 13616: the first four characters go behind, letters count from A = 10, the rest is 1.
    plain = text.replace(" ", "").upper()
    if not 15 <= len(plain) <= 34:
        return False
    return int("".join(str(int(sign, 36)) for sign in plain[4:] + plain[:4])) % 97 == 1


def _may_be_phone(text: str) -> bool:
    return 7 <= len(_digits(text)) <= 15 and not _DATE.fullmatch(text.strip())
