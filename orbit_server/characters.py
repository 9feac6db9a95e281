"""Characters that a model reads otherwise than people do, as the insides of ``[…]`` in expressions.

Invisible characters can carry words or break them up without a reader noticing; Chinese, Japanese
and Korean have no blanks between words.
"""

# Controls that are not white space, soft hyphens, bidirectional controls, interlinear annotation,
# variation selectors, shorthand and musical controls, and the tag characters. The two joiners and
# the two selectors of emoji are apart, because some languages and signs need them.
INVISIBLE = (
    "\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u17b4\u17b5\u180b-\u180f"
    "\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0d\ufeff\ufff0-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
JOINERS = "\u200c\u200d"
EMOJI_SELECTORS = "\ufe0e\ufe0f"
# They take room and show nothing: the fillers of Hangul, and the pattern of Braille without a dot.
FILLERS = "\u115f\u1160\u2800\u3164\uffa0"

CJK = (
    "\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
)
