"""The languages whose words are understood, by their ISO 639-1 codes."""

# What the Snowball project calls them; its stemmers are at https://snowballstem.org/algorithms/.
STEMMERS = {
    "ar": "arabic",
    "ca": "catalan",
    "cs": "czech",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "es": "spanish",
    "fi": "finnish",
    "fr": "french",
    "hi": "hindi",
    "hu": "hungarian",
    "it": "italian",
    "nl": "dutch",
    "no": "norwegian",
    "pl": "polish",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sv": "swedish",
    "tr": "turkish",
}
WITHOUT_STEMS = frozenset({"ja", "ko", "zh"})  # found by pairs of characters
LANGUAGES = frozenset(STEMMERS) | WITHOUT_STEMS
NOT_LATIN = frozenset({"ar", "el", "hi", "ru"}) | WITHOUT_STEMS
