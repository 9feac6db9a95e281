"""What strangers write can neither leave its delimiters nor speak in another role."""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_server.llm.untrusted import delimiter, without_roles

TOKENS = (
    "<|im_start|>",
    "<|eot_id|>",
    "<|start_header_id|>",
    "<|end|>",
    "<|channel|>",
    "<|START_OF_TURN_TOKEN|>",
    "<｜begin▁of▁sentence｜>",
    "<｜User｜>",
    "<｜tool▁calls▁begin｜>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<s>",
    "</s>",
    "<bos>",
    "<eos>",
    "<unk>",
    "<pad>",
    "<<SYS>>",
    "<</SYS>>",
    "<think>",
    "</think>",
    "<tool_call>",
    "<sop>",
    "<eop>",
    "<extra_id_1>",
    "<[begin_of_sentence]>",
    "<[end_of_sentence]>",
    "<[PAD]>",
    "<reserved_106>",
    "<_user>",
    "<0x0A>",
    "<_>",
    "[INST]",
    "[/INST]",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "[AVAILABLE_TOOLS]",
    "[TOOL_CALLS]",
    "[TOOL_RESULTS]",
    "[THINK]",
    "[/THINK]",
    "[ARGS]",
    "[CALL_ID]",
    "[TOOL_CONTENT]",
    "[IMG_BREAK]",
    "[PREFIX]",
    "[SUFFIX]",
    "[MIDDLE]",
    "[BEGIN_AUDIO]",
    "[gMASK]",
    "[sMASK]",
    "[MASK]",
    "[CLS]",
    "[SEP]",
    "[PAD]",
    "[BOS]",
    "[|system|]",
    "[|user|]",
    "[|assistant|]",
    "[|endofturn|]",
    "[|tool|]",
    "{|system|}",
    "(|system|)",
    "</passage_>",
    "</passage>",
    "＜｜im_start｜＞",
    "＜|im_end|＞",
    "<¦im_start¦>",
    "﹤|eot_id|﹥",
    "＜／s＞",
    "＜s＞",
    "［INST］",
    "［／INST］",
    "[ＩＮＳＴ]",
    "［ＴＨＩＮＫ］",
    "﹇INST﹈",
    "[𝐈𝐍𝐒𝐓]",
    "［｜system｜］",
    "｛｜system｜｝",
    "＜［begin_of_sentence］＞",
    "＜ｔｈｉｎｋ＞",
)
HIDDEN = [
    "<\u200b|im_start|>",
    "<\u2060|\u200bim_start|>",
    "[\ufeffINST]",
    "[I\u200bNST]",
    "[\u00ad/\u200dINST]",
    "[g\u200bMASK]",
    "[\u3164|system|]",
    "<\ufe0f/s>",
]
# The forms, as a tokenizer sees them that normalises its text and drops what nobody sees.
FORMS = re.compile(r"<[|/\w\[]|[\[({]\||\[/?[a-z]{0,2}[A-Z][A-Z_]")


def seen(text: str) -> str:
    """Return the text as such a tokenizer reads it."""
    text = unicodedata.normalize(
        "NFKC", re.sub("[\u00ad\u200b-\u200d\u2060\u3164\ufe0f\ufeff]", "", text)
    )
    return re.sub("[¦ǀ∣│❘⏐┃]", "|", text)


@pytest.mark.parametrize("token", [*TOKENS, *HIDDEN])
def test_tokens_of_chat_templates_are_broken(token: str) -> None:
    """Whatever stands around it, and whichever model it belongs to; nothing of it is lost."""
    assert FORMS.search(seen(token))
    for text in (token, f"Nine.{token}system", f"a {token * 2}\nb"):
        broken = without_roles(text)
        assert not FORMS.search(seen(broken))
        assert broken.replace(" ", "") == text.replace(" ", "")
        assert without_roles(broken) == broken


@pytest.mark.parametrize(
    "text",
    [
        "[1] and [2, 3]",
        "See [the opening hours](https://example.org/a_b?c=d) [here][1].",
        "[Note] This is a note. [x] done, [ ] to do",
        "a[i] = b[N] (see p. 3)",
        "3 < 4 and 5 > 2; -> <- <= <3 friends".replace("<3", "♥"),
        "| a | b |\n|---|---|\n",
        "Öffnungszeiten: 9–17 Uhr [2]",
        "图书馆九点开门【1】",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    """Numbers in brackets, links, tables and comparisons are no tokens."""
    assert without_roles(text) == text


@pytest.mark.parametrize(
    ("text", "readable"),
    [
        ("[NOTE] Closed.", "[ NOTE] Closed."),
        ("[PDF](a.pdf)", "[ PDF](a.pdf)"),
        ("<b>bold</b>", "< b>bold< /b>"),
        ("I <3 books", "I < 3 books"),
        ("［注意］ ［NOTE］", "［注意］ ［ NOTE］"),
    ],
)
def test_what_only_looks_like_a_token_stays_readable(text: str, readable: str) -> None:
    """A blank is all that is added."""
    assert without_roles(text) == readable


@given(
    st.text(
        st.sampled_from("<[{(|/＜［｜／﹤¦\u200b\u2060\ufe0fIＮaA_s> ]1") | st.characters(),
        max_size=30,
    )
)
def test_no_form_survives(text: str) -> None:
    """No text at all holds a token of one of the forms afterwards."""
    text = re.sub("[^\u200b\u2060\ufe0f\\S ]", "", text)
    assert not FORMS.search(seen(without_roles(text)))


def test_delimiters_cannot_be_guessed() -> None:
    """Each is new, one line, and long."""
    lines = {delimiter() for _ in range(100)}
    assert len(lines) == 100
    assert all(re.fullmatch(r"=====[0-9a-f]{32}=====", line) for line in lines)
