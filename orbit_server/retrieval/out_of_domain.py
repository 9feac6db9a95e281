"""Questions of everyday life and general knowledge, which hardly any collection answers.

What they score in a collection is what any question scores there that it has no answer to; so its
threshold can be measured without questions that it answers.
"""

from collections.abc import Iterable
from functools import cache
from pathlib import Path

import orjson

_FILE = Path(__file__).with_name("out_of_domain_questions.json")


def out_of_domain_questions(languages: Iterable[str] = ("en",)) -> list[str]:
    """Return the questions in these languages, by ISO 639-1 code; none in one that has none."""
    known = _questions()
    return [question for code in languages for question in known.get(code, ())]


@cache
def _questions() -> dict[str, list[str]]:
    questions: dict[str, list[str]] = orjson.loads(_FILE.read_bytes())
    return questions
