"""Two questions in one message: "passport cost and where can I park?" is searched as two.

Where one question ends is told by question marks, by semicolons and ends of lines between two that
begin as questions, and by a conjunction before a question word in the languages below. That is a
guess, so the whole is searched too, and ``answers_apart`` decides by what was found.
"""

import re
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from ..types import Passage, Retrieved

_MOST = 3
_LONGEST = 400  # characters: a longer text is a story, and too much for a guess
_AS_GOOD = 0.8
_ARABIC_AND = "و"


class _Grammar(NamedTuple):
    """Expressions for the words that tell questions apart in a language.

    ``joins`` are conjunctions, ``before`` may stand before a question word, ``asks`` are question
    words, ``opens`` other beginnings of a question, ``refers`` to what was said before. A question
    that follows another has at least ``words``.
    """

    joins: str
    before: str
    asks: str
    opens: str
    refers: str
    words: int = 3


_GRAMMARS = (
    _Grammar(  # English
        "and|also|plus|&",
        "also|then|at|by|for|from|in|on|since|to|until|with",
        "how (?:much|many|long|often|far)|(?:what|when|where|who|how)s?|which|whom|whose|why",
        "(?:is|are|can|could|may|do|does|did|must|should|will|would)"
        " (?:i|we|you|one|there|the|my|our|an?)",
        "it|its|they|them|their|that|this|these|those|he|she|him|his|her|(?<!is )(?<!are )there"
        r"|one(?=\W*\Z)",
    ),
    _Grammar(  # German
        "und|sowie",
        "auch|ab|an|auf|aus|außerdem|bei|bis|für|in|mit|nach|seit|um|von|vor|wegen|zu",
        "wann|wo|wie(?: viel| viele| lange| oft| weit)?|was|wer|wen|wem|wessen|warum|wieso|woher"
        "|wohin|womit|wofür|wozu|wobei|wieviel|welche[rsnm]?",
        "(?:ist|sind|kann|können|darf|dürfen|muss|müssen|gibt|hat|haben|brauche|brauchen|soll)"
        " (?:ich|man|wir|es|der|die|das|eine?|meine?|unsere?)",
        r"(?<!gibt )es|er|(?-i:sie)|ihn|ihm|dort|da|dies|diese[rsnm]?|dafür|davon|damit|dazu"
        r"|das(?=\W*\Z)",
    ),
    _Grammar(  # French
        "et",
        "à|avec|aussi|chez|dans|de|depuis|en|jusqu'à|par|pour|sur",
        "quand|où|comment|combien(?: de)?|pourquoi|qui|que|qu'est-ce|quel(?:le)?s?|à quelle heure",
        "est-ce|y a-t-il|puis-je|peut-on|dois-je|faut-il",
        "(?<!a-t-)(?<!faut-)ils?(?! y| faut)|elles?|ça|cela|ceci|celui-ci|celle-ci",
    ),
    _Grammar(  # Spanish
        "y|e",
        "a|además|con|de|desde|en|hasta|para|por|también",
        "cuándo|dónde|adónde|cómo|cuánt[oa]s?|qué|quién(?:es)?|cuál(?:es)?"
        "|cuando|donde|cuant[oa]s?|cual",
        "hay|puedo|se puede|tengo que|debo",
        "eso|esto|ello|él|ella|ellos|ellas|allí|ahí",
    ),
    _Grammar(  # Italian
        "e|ed",
        "a|anche|con|da|di|fino a|in|per",
        "quando|dove|dov'è|come|quant[oaie]|cosa|che cosa|chi|quali?|perché",
        "c'è|ci sono|posso|si può|devo",
        "quello|questo|ciò|esso|essa|lì|là",
    ),
    _Grammar(  # Portuguese
        "e",
        "a|até|com|de|desde|em|para|por|também",
        "quando|onde|aonde|como|quant[oa]s?|o que|quem|qual|quais|por que",
        "há|posso|pode-se|tenho de|devo",
        "isso|isto|ele|ela|eles|elas|aquilo|lá|ali",
    ),
    _Grammar(  # Dutch
        "en",
        "aan|bij|in|met|naar|om|ook|op|sinds|tot|van|vanaf|voor",
        "wanneer|waar|hoe(?: lang| veel| vaak)?|hoeveel|hoelang|wat|welke?|wie|waarom",
        "(?:is|zijn|kan|kun|mag|moet|moeten) (?:ik|we|wij|je|men|er|de|het|een|mijn)",
        r"dat|dit|die|daar|hij|zij|het(?=\W*\Z)",
    ),
    _Grammar(  # Swedish
        "och|samt",
        "av|för|från|i|med|på|till|också",
        "när|var|vart|hur(?: mycket| många| länge)?|vad|vilken|vilket|vilka|vem|varför",
        "(?:är|kan|får|måste|finns) (?:jag|man|vi|det|den|en|ett)",
        r"den(?=\W*\Z)|det(?=\W*\Z)|där|dessa|denna|detta",
    ),
    _Grammar(  # Polish
        "i|a|oraz",
        "też|do|dla|na|od|o|w|z|za",
        "kiedy|gdzie|dokąd|jak(?: długo)?|ile|co|czego|kto|komu|jak[iaą]e?|któr[yaeą]|dlaczego|czy",
        "mogę|można",
        "to|tego|tam|on|ona|ono|jego|jej|ich",
        2,
    ),
    _Grammar(  # Czech
        "a",
        "také|do|na|od|pro|s|v|z|za",
        "kdy|kde|kam|jak(?: dlouho)?|kolik|co|kdo|koho|jak[ýáé]|kter[ýáé]|proč",
        "mohu|můžu",
        "to|toho|tam|on|ona|ono|jeho|její|jejich",
        2,
    ),
    _Grammar(  # Russian
        "и|а|а также",
        "в|до|для|за|из|на|о|от|по|с|также|у",
        "когда|где|куда|откуда|как(?: долго)?|сколько|что|чего|кто|кого|кому|как(?:ой|ая|ие|ую)"
        "|почему|зачем",
        "можно ли|могу ли я|нужно ли|есть ли",
        "это|этого|он|она|оно|они|там|туда|его|её|ее|их",
        2,
    ),
    _Grammar(  # Ukrainian
        "і|й|та|а",
        "в|у|до|для|за|з|на|від|по|також",
        "коли|де|куди|звідки|як(?: довго)?|скільки|що|чого|хто|кого|кому|як(?:ий|а|і)|чому|чи",
        "можна",
        "це|цього|він|вона|воно|вони|там|туди|його|її|їх",
        2,
    ),
    _Grammar(  # Turkish
        "ve",
        "ayrıca",
        "ne(?: zaman| kadar)?|neden|nerede|nereye|nereden|nasıl|kaça?|kime?|hangi|niçin",
        "(?!)",
        "o|onu|onun|bu|bunu|orada|oraya",
        2,
    ),
    _Grammar(  # Arabic, which writes "and" and the next word as one
        _ARABIC_AND,
        "في|من|إلى|على",
        "أين|كم|متى|كيف|ما|ماذا|هل|لماذا|بكم",
        "(?!)",
        "هو|هي|ذلك|هذا|هذه|هناك",
        2,
    ),
)

_CJK = re.compile("[\u3040-\u30ff\u3400-\u9fff]")
_CJK_ASKS = (
    "多少|哪|什么|什麼|怎|几|幾|何|谁|誰|吗|嗎|呢|如何|为什么|どこ|いつ|いくら|どう|だれ|なぜ|どの"
)
_CJK_JOIN = re.compile("[，,、;；](?:还有|還有|另外|以及|而且|然后|然後|そして|また)?[，,、]?")
_CJK_REFERS = re.compile("它|那[^里裡儿兒些]|这|這|それ|そこ|その|これ|あれ")
_CJK_FEWEST = 4  # characters

# Ten marks at most: with any number, thousands of them would cost their square.
_SENTENCE_END = re.compile(r"(?<=[?؟])[!?؟]{0,9}\s+|(?<=？)\s*|(?<=か。)\s*")
_SEPARATOR = re.compile(r"[\s,;]+")
_LINE_END = re.compile(r"\s*[;\n]\s*")
_WORD = re.compile(r"\w+(?:['’-]\w+)*")
_PERHAPS = re.compile(
    rf"[?？؟]\W*\w|[;\n]\W*\w|か。\w|[，,、;；].*(?:{_CJK_ASKS})"
    rf"|[\s,;](?:{'|'.join(grammar.joins for grammar in _GRAMMARS)})\s|\sو\w",
    re.IGNORECASE,
)


def questions_in(text: str) -> list[str]:
    """Return the questions in ``text``, at most three; nothing where there is only one.

    A fragment ("and on Sundays?") is none of its own, nor is what refers to the one before ("and
    how long does it take?").
    """
    if len(text) > _LONGEST or not _PERHAPS.search(text):
        return []
    sentences = [part.strip() for part in _SENTENCE_END.split(text) if part.strip()]
    parts = [part for sentence in sentences for part in _clauses(sentence)]
    if not 1 < len(parts) <= _MOST:
        return []
    first, *others = parts
    key_words = _bare(first) is None  # "library hours? parking fee?", as people type them
    if not _is_enough(first):
        return []
    bare = [_following(part, key_words=key_words) for part in others]
    return [first, *filter(None, bare)] if all(bare) else []


def is_whole(text: str) -> bool:
    """Tell whether ``text`` is one question or more that need nothing of what was said before.

    "How much is the dog tax?" is, "and on Sundays?" and "how long does it take?" are not.
    """
    first, *others = [part for part in _SENTENCE_END.split(text.strip()) if part] or [""]
    if others:
        return is_whole(first)
    if _CJK.search(first):
        return _following(first, key_words=False) is not None and _asks_in_cjk(first)
    return begins_a_question(first) and _following(first, key_words=False) is not None


def follows_up(text: str) -> bool:
    """Tell whether ``text``, not even as key words, says anything without what was said before."""
    return _following(text, key_words=True) is None


def begins_a_question(text: str) -> bool:
    """Tell whether ``text`` begins with a question word, and not with a conjunction."""
    found = _bare(text)
    return found is not None and not text[: text.index(found[0])].strip(" ¿")


def answers_apart(whole: Retrieved, parts: Sequence[Retrieved]) -> bool:
    """Tell whether ``parts`` found what they ask for, and that not in one place.

    Not when one of them found nothing, two of them the same, or all of them, among the best, what
    the ``whole`` found first.
    """
    if not parts or not all(part.passages for part in parts):
        return False
    best = [part.passages[0] for part in parts]
    if len({each.id for each in best}) < len(best) or len({_said(each) for each in best}) < len(
        best
    ):
        return False
    return not whole.passages or not all(
        any(
            each.id == whole.passages[0].id and each.score >= _AS_GOOD * part.passages[0].score
            for each in part.passages
        )
        for part in parts
    )


def interleaved(found: Sequence[Sequence[Passage]], most: int) -> list[Passage]:
    """Return at most ``most`` passages, the best of each list first; one of each list at least."""
    merged: dict[str, Passage] = {}
    for rank in range(max(map(len, found), default=0)):
        for passages in found:
            if rank < len(passages):
                merged.setdefault(passages[rank].id, passages[rank])
    return list(merged.values())[: max(most, len(found))]


def _said(passage: Passage) -> str:
    return " ".join((passage.answer or passage.text).casefold().split())


def _clauses(sentence: str) -> list[str]:
    """Return the questions that conjunctions join in ``sentence``; itself, where none does."""
    if _CJK.search(sentence):
        clauses = _CJK_JOIN.split(sentence)
        return clauses if all(re.search(_CJK_ASKS, clause) for clause in clauses) else [sentence]
    lines = _LINE_END.split(sentence)
    if len(lines) > 1 and all(map(begins_a_question, lines)):
        return [clause for line in lines for clause in _clauses(line)]
    words = set(_SEPARATOR.split(sentence.lower().replace("&", " & ")))
    if _ARABIC_AND in sentence:
        words.add(_ARABIC_AND)
    for rules in _rules():
        if rules.conjunctions.isdisjoint(words):
            continue
        clauses = rules.join.split(sentence)
        if len(clauses) > 1:
            # "Where" of "where and when is the market?" is no question.
            complete = all(rules.small.sub("", clause).strip(" ,?") for clause in clauses)
            return clauses if complete else [sentence]
    return [sentence]


def _asks_in_cjk(text: str) -> bool:
    return re.search(_CJK_ASKS, text.replace("呢", "")) is not None


def _is_enough(part: str) -> bool:
    if _CJK.search(part):
        return len("".join(_WORD.findall(part))) >= _CJK_FEWEST
    return len(_WORD.findall(part)) > 1


def _following(part: str, *, key_words: bool) -> str | None:
    """Return a question that follows another without its conjunction, if it is one of its own."""
    if _CJK.search(part):
        return part if _is_enough(part) and not _CJK_REFERS.search(part) else None
    found = _bare(part)
    if found is None:
        small = any(rules.small.match(part) for rules in _rules())
        return part if key_words and _is_enough(part) and not small else None
    bare, rules = found
    enough = len(_WORD.findall(bare)) >= rules.words
    return bare if enough and not rules.refers.search(bare) else None


def _bare(part: str) -> tuple[str, "_Rules"] | None:
    """Return ``part`` without its conjunction, and the language in which it asks; else ``None``."""
    for rules in _rules():
        if match := rules.start.match(part):
            return part[match.start("asks") :], rules
    return None


class _Rules(NamedTuple):
    """A grammar, compiled.

    ``join`` splits where one of the ``conjunctions`` is, of which some are the first word only;
    ``start`` matches the beginning of a question, a conjunction before it.
    """

    conjunctions: frozenset[str]
    join: re.Pattern[str]
    start: re.Pattern[str]
    refers: re.Pattern[str]
    small: re.Pattern[str]
    words: int


@cache
def _rules() -> list[_Rules]:
    return [_compiled(grammar) for grammar in _GRAMMARS]


def _compiled(grammar: _Grammar) -> _Rules:
    joins, before, asks, opens, refers, words = grammar
    gap = r"\s*" if joins == _ARABIC_AND else r"\s+"
    question = rf"[¿]?(?:(?:{before})\s+){{0,2}}(?:{asks}|{opens})(?![\w-])"
    join = rf"(?:\s*[,;&]\s*|\s+)(?:{joins}){gap}(?={question})"
    start = rf"\W*(?:(?:{joins}){gap})?(?P<asks>{question})"
    small = rf"(?<!\w)(?:{joins}|{before}|{asks})(?![\w-])"
    return _Rules(
        conjunctions=frozenset(each.split()[0] for each in joins.split("|")),
        join=re.compile(join, re.IGNORECASE),
        start=re.compile(start, re.IGNORECASE),
        refers=re.compile(rf"(?<!\w)(?:{refers})(?!\w)", re.IGNORECASE),
        small=re.compile(small, re.IGNORECASE),
        words=words,
    )
