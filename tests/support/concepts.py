"""A multilingual embedding model made of a small dictionary: words of one meaning are one axis.

As of real ones, vectors of the same meaning in two languages are alike, not equal: each text has
some of its language and of itself, and all have something in common.
"""

import hashlib
import math
import re
from collections.abc import Sequence

_CONCEPTS = (
    ("cost costs fee price", "kostet kosten gebühr preis", "coûte coût prix tarif"),
    ("passport passports", "reisepass pass", "passeport"),
    ("library libraries", "bibliothek bücherei", "bibliothèque"),
    ("open opens opening", "öffnet geöffnet offen", "ouverte ouvre"),
    ("pool swimming", "schwimmbad freibad", "piscine"),
    ("dog dogs", "hund hunde", "chien"),
    ("licence tax", "steuer marke", "taxe"),
    ("park parking", "parken parkplatz", "garer stationnement"),
    ("bulb lamp light", "glühbirne lampe", "ampoule"),
    ("invented inventor", "erfunden erfinder", "inventé"),
)
_LANGUAGES = 3
_OWN = 32  # axes for what a text has of itself
_COMMON, _OF_LANGUAGE, _OF_ITSELF = 1.0, 0.6, 1.25


class ConceptEmbedder:
    """Vectors of meanings, in English, German and French; ``model`` is one that nobody measured."""

    provider = "ollama"
    model = "concepts"

    async def documents(self, texts: Sequence[str]) -> list[list[float]]:
        return [_vector(text) for text in texts]

    async def query(self, text: str) -> list[float]:
        return _vector(text)


def _vector(text: str) -> list[float]:
    words = set(re.findall(r"\w+", text.casefold()))
    said = [[not words.isdisjoint(forms.split()) for forms in concept] for concept in _CONCEPTS]
    concepts = [float(any(concept)) for concept in said]
    spoken = [sum(concept[number] for concept in said) for number in range(_LANGUAGES)]
    main = spoken.index(max(spoken))
    language = [_OF_LANGUAGE * (number == main) for number in range(_LANGUAGES)]
    digest = hashlib.sha256(text.encode()).digest()
    own = [byte / 255 - 0.5 for byte in digest[:_OWN]]
    size = math.hypot(*own)
    vector = [_COMMON, *language, *concepts, *(_OF_ITSELF * each / size for each in own)]
    return [each / math.hypot(*vector) for each in vector]
