"""Passages that say what another one says: equal and nearly equal texts count once.

Nearly equal are texts in which one word of twenty has another ending, or is there in only one of
them and says nothing, as "also". Any other word may make another fact of a sentence: "Dogs are
allowed" and "Dogs are forbidden" differ in one, and so do prices, codes, names, and versions of a
document.
"""

import re
import unicodedata
from collections import Counter
from difflib import SequenceMatcher
from functools import cached_property

_LONG = 20
_BEGINNING, _ALIKE = 3, 0.8

_TOKEN = re.compile(r"[^\W_]+|[€$£¥₹%‰°+=§]|(?<![\w.,])[-\u2212](?=\d)")
_CJK = re.compile("[\u0e00-\u0eff\u1100-\u11ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
# Small words that turn a sentence into another one; "t" is that of "don't".
_DECISIVE_WORDS = """
no not t never none nor neither without except cannot unless only nobody nothing
nicht kein keine keinen keinem keiner keines nie niemals ohne außer nur niemand nichts
ne pas non jamais aucun aucune sans sauf seulement personne rien
nunca jamás sin ningún ninguna salvo sólo solo nadie nada
mai senza nessun nessuna nessuno tranne niente
não sem nenhum nenhuma exceto apenas ninguém
niet geen nooit zonder behalve alleen niemand niets inte ej aldrig utan
nie bez nigdy ne není nikdy не нет ни без никогда кроме только ні değil yok hariç
لا ليس ليست لم لن بدون غير إلا
one two three four five six seven eight nine ten eleven twelve half double
ein eine zwei drei vier fünf sechs sieben acht neun zehn elf zwölf halb doppelt
un une deux trois quatre cinq six sept huit neuf dix onze douze demi double
uno una dos tres cuatro cinco seis siete ocho nueve diez once doce
due tre quattro cinque sei sette otto nove dieci undici dodici
um uma dois duas três quatro sete oito dez onze doze
lundi mardi mercredi jeudi vendredi samedi dimanche
lunes martes miércoles jueves viernes sábado sábados domingo domingos
lunedì martedì mercoledì giovedì venerdì sabato domenica segunda terça quarta quinta sexta
понедельник вторник среда среду четверг пятница пятницу суббота субботу воскресенье"""
_DECISIVE = frozenset(_DECISIVE_WORDS.split())
# Which a sentence may have or not.
_EMPTY_WORDS = """
the also too please just der die das auch bitte le la les aussi el los las también il lo gli anche
também de het ook också też také także также тоже"""
_SAYS_NOTHING = frozenset(_EMPTY_WORDS.split())
_ROUGHLY = 1 / 2


class _Text:
    """A passage, read as far as somebody wants to know it: most differ at the first glance."""

    def __init__(self, text: str, title: str = "") -> None:
        self.text, self.title = unicodedata.normalize("NFKC", text), title
        self.rough = set(self.text.casefold().split())

    @cached_property
    def title_words(self) -> set[str]:
        return set(_TOKEN.findall(self.title.casefold()))

    @cached_property
    def tokens(self) -> list[str]:
        """The words and signs that count, as they are written."""
        return _TOKEN.findall(self.text)

    @cached_property
    def words(self) -> list[str]:
        return [token.casefold() for token in self.tokens]

    @cached_property
    def distinct(self) -> set[str]:
        return set(self.words)

    @cached_property
    def decisive(self) -> list[str]:
        return [word for word in self.words if word in _DECISIVE or not word.isalpha()]


class Distinct:
    """Tell which of the passages found for ``question`` say something new, in their order."""

    def __init__(self, question: str) -> None:
        self._asked = _Text(question).distinct
        self._seen: list[_Text] = []

    def add(self, text: str, title: str = "") -> bool:
        """Return whether ``text`` says anything that those before have not said.

        "Open at nine." says something else below the ``title`` "Pool" than below "Library", for who
        asks about both.
        """
        new = _Text(text, title)
        if any(self._repeats(new, seen) for seen in self._seen):
            return False
        self._seen.append(new)
        return True

    def _repeats(self, new: _Text, seen: _Text) -> bool:
        longer = max(len(new.rough), len(seen.rough))
        if longer >= _LONG and len(new.rough & seen.rough) < longer * _ROUGHLY:
            return False
        if len(new.distinct - seen.distinct) > max(1, len(new.words) // _LONG):
            return False
        if new.title != seen.title and self._asks_which(new, seen):
            return False
        if new.words == seen.words:
            return True
        if new.decisive != seen.decisive:
            return False
        length = min(len(new.words), len(seen.words))
        most = max(1, length // _LONG)
        if abs(len(new.words) - len(seen.words)) > most:
            return False
        ours, theirs = Counter(new.words), Counter(seen.words)
        if max((ours - theirs).total(), (theirs - ours).total()) > most:
            return False
        return self._means_the_same(new, seen, most=most)

    def _asks_which(self, new: _Text, seen: _Text) -> bool:
        asked = self._asked & (new.title_words ^ seen.title_words)
        return bool(asked) and not asked.issubset(new.words)

    def _means_the_same(self, new: _Text, seen: _Text, *, most: int) -> bool:
        """Compare word by word, in order: the same words may say who pays for whom."""
        changed = 0
        matcher = SequenceMatcher(None, new.words, seen.words, autojunk=False)
        for what, start, end, other_start, other_end in matcher.get_opcodes():
            if what == "equal":
                continue
            changed += max(end - start, other_end - other_start)
            if changed > most:
                return False
            if what == "replace":
                pair = new.tokens[start:end], seen.tokens[other_start:other_end]
                if not _is_inflected(*pair):
                    return False
            elif not _SAYS_NOTHING.issuperset(
                new.words[start:end] + seen.words[other_start:other_end]
            ):
                return False
        return True


def _is_inflected(one: list[str], other: list[str]) -> bool:
    """Tell whether one word has another ending here; names, which are capitalised, have none."""
    if len(one) != 1 or len(other) != 1:
        return False
    word, its = one[0].casefold(), other[0].casefold()
    if word[:_BEGINNING] != its[:_BEGINNING] or _CJK.search(word):
        return False
    if one[0] != one[0].lower() and other[0] != other[0].lower():
        return False
    return SequenceMatcher(None, word, its, autojunk=False).ratio() >= _ALIKE
