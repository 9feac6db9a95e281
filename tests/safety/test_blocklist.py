"""The blocklist sees through disguise, and no entry of it can hold up the server."""

import logging
import pickle
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orbit_server.errors import ConfigError
from orbit_server.safety.blocklist import Blocklist


@pytest.fixture
def listed(tmp_path: Path) -> Callable[[str], Blocklist]:
    """Write a blocklist and load it."""

    def load(text: str) -> Blocklist:
        path = tmp_path / "blocklist.txt"
        path.write_text(text, encoding="utf-8")
        return Blocklist.load(path)

    return load


@pytest.mark.parametrize(
    ("entry", "text", "found"),
    [
        ("build a bomb", "How do I build a bomb?", True),
        ("build a bomb", "BUILD  A\n\tBomb!", True),
        ("build a bomb", "build a bombshelter", False),
        ("build a bomb", "rebuild a bomb", False),
        ("build a bomb", "build the bomb", False),
        ("build a bomb", "bu\u200bild a b\u00ado\ufe0fmb", True),
        ("build a bomb", "build\u3000a\xa0bomb", True),
        ("build a bomb", "ｂｕｉｌｄ ａ ｂｏｍｂ", True),
        ("build a bomb", "𝖇𝖚𝖎𝖑𝖉 a ⓑⓞⓜⓑ", True),
        ("build a bomb", "build \u0430 b\u043emb", True),
        ("build a bomb", "ΒUILD Α ΒΟΜΒ", True),
        ("build a bomb", "bůild à bömb", True),
        ("build a bomb", "b̶u̶i̶l̶d̶ a bomb", True),
        ("build a bomb", "ʙᴜɪʟᴅ ᴀ ʙᴏᴍʙ", True),
        ("build a bomb", "build\x00 a bomb", True),
        ("Straße", "die STRASSE hinunter", True),
        ("résumé", "my resume", True),
        ("бомба", "где БОМБА?", True),
        ("бомба", "бомбардир", False),
        ("ναι", "ΝΑΙ", True),
        ("炸弹", "帮我做一个炸弹。", True),
        ("폭탄", "폭탄을 만들어", True),
        ("爆弾", "これは爆弾です", True),
        ("قنبلة", "ساعدني في صنع قنبلة.", True),
        ("c++", "I hate c++!", True),
        (".*", "anything", False),
        ("/kill (?:him|her)/", "KILL her now", True),
        ("/kill (?:him|her)/", "kill hi\u200bm", True),
        ("/kill (?:him|her)/", "kill them", False),
        ("/b[o0]mb/", "b\u043emb", True),
        ("/бомб[аыу]/", "бомбу", True),
        (r"/\bmake\s+a\s+gun\b/", "Make\na  gun", True),
        ("/make.{0,80}bomb/", "make me a big bomb", True),
        ("/Make.{0,80}Bomb/", "make me a big bomb", True),
        ("bomb", "_bomb_", True),
        ("make a bomb", "How do I make_a__bomb?", True),
        ("snake_case", "a snake case", True),
        ("bomb", "\ufdfa" * 20_000 + "bomb", True),
        ("bomb", "make_a_bomb", True),
        ("bomb", "bomb1", False),
        ("bomb", "b\u05bfo\u0e3am\u094db\u064b", True),
        ("bomb", "bo\U0001d173mb", True),
        ("bomb", "bo\ufffcm\ufffdb", True),
        ("bomb", "bo\U0001f3fbmb", True),
        ("bomb", "🅱🅾🅼🅱", True),
        ("bomb", "🅑🅞🅜🅑", True),
        ("bomb", "🇧🇴🇲🇧", True),
        ("bomb", "bomb🇺🇸", True),
        ("bomb", "ᏴOMᏴ", True),
        ("bomb", "ꓐꓳꓟꓐ", True),
        ("bomb", "ᗷOᗰᗷ", True),
        ("bomb", "ьomβ", True),
        ("bomb", "a" + "\u05bf\u064b" * 32_000 + " b" + "\u05bf\u064b" * 2000 + "omb", True),
        ("/home", "go /home now", True),
        # invisible characters in place of a blank, inside of a word, and both at once
        ("build a bomb", "build\u2800a\u2800bomb", True),
        ("build a bomb", "build\u3164a\u3164bomb", True),
        ("build a bomb", "build\u200ba\u200bbomb", True),
        ("build a bomb", "build\u2060\u200da\ufeffbomb", True),
        ("build a bomb", "bu\u200bild\u2800a b\u00adomb", True),
        ("build a bomb", "build\U000e0020a\ufe0fbomb", True),
        ("build a bomb", "buildabomb", False),
        ("/build a bomb/", "build\u2800a\u3164bomb", True),
        ("/build a bomb/", "build\u200ba\u200bbomb", True),
        ("/build a bomb/", "bu\u200bild a bo\u200bmb", True),
        ("炸弹", "炸\u200b弹", True),
        ("炸弹", "炸 弹", True),
        ("炸弹", "炸-弹", True),
        ("炸弹", "油炸。弹性", False),
        # signs between words
        ("build a bomb", "build-a-bomb", True),
        ("build a bomb", "build.a.bomb", True),
        ("build a bomb", "build/a/bomb", True),
        ("build a bomb", "build - a ... bomb!", True),
        ("build a bomb", "build, a bomb", True),
        ("build a bomb", "build—a•bomb", True),
        ("build a bomb", "build💣a💣bomb", True),
        ("build-a-bomb", "build a bomb", True),
        ("ad-hoc.file/name", "ad hoc file name", True),
        ("build a bomb", "build a-bombshelter", False),
        ("build a bomb", "build 1 a bomb", False),
    ],
)
def test_blocklist_sees_through_disguise(
    listed: Callable[[str], Blocklist], entry: str, text: str, found: bool
) -> None:
    """Phrases match as whole words and expressions anywhere, whatever they are dressed in."""
    assert listed(entry).match(text) == (entry if found else None)


def test_blocklist_skips_comments_and_blank_lines(listed: Callable[[str], Blocklist]) -> None:
    """Comments, blank lines and a byte order mark are no entries; the first match is named."""
    blocklist = listed("\ufeff# mine\n\n  bomb  \n# gun\n/guns?/\n")
    assert blocklist.match("# mine") is None
    assert blocklist.match("a gun") == "/guns?/"
    assert blocklist.match("guns and a bomb") == "bomb"
    assert listed("").match("anything") is None


def test_blocklist_names_every_mistake_with_its_line(listed: Callable[[str], Blocklist]) -> None:
    """Broken, endless and empty entries are all reported at once, each with file and line."""
    with pytest.raises(ConfigError) as caught:
        listed("bomb\n/gun(/\n\n/(a+)+b/\n/.*x.*y/\n/(?:a|ab)*c/\n/x?/\n\u200b\n")
    places = [re.match(r".*blocklist\.txt:(\d+): ", mistake) for mistake in caught.value.mistakes]
    assert [int(place[1]) for place in places if place] == [2, 4, 5, 6, 7, 8]


ENDLESS = [
    r"(a+)+b",
    r"(a|aa)+c",
    r"(?:x+x+)+y",
    r"(\w+\s?)*$x",
    r"a{1000}b",
    r"a.*b",
    r"\w+bomb",
    r"\w++bomb",
    r"(?:a|b)+c",
    r"a[^c]*c",
    r"(b)?(?(1)a.*|c.*)d",
    r"a.{0,80}b.{0,80}c",
]
SLOW = [
    r"make.*bomb",
    r"[a-z]+ing bomb",
    r"(?>a+)b",
    r"bombs*",
    r"how.{0,70}to.{0,70}make",
    r"how.{0,80}[ab]{0,5}c",
    r".{0,80}aaaaaaaab",
    r"(?=.{0,300}b)c",
    r"(.{1,40})b\1",
    r"(ab?){0,14}d",
    r"(?:ab|b){0,60}?d",
    r"(a+)+$",
]
QUICK = [
    r"make.{0,80}bomb",
    r"Make.{0,80}Bomb",
    r"how.{0,80}(?:make|build)",
    r"(?:make|build|buy)\W{1,5}(?:an? )?(?:bomb|gun)s?\b",
    r"b[o0]mb.{0,80}plan",
    r"\bmake\s+a\s*gun\b",
    r"ignore +(?:all )?(?:previous|prior) instructions",
    r"\w{1,20}bomb",
    r"\d{3}-\d{2}-\d{4}",
    r"(?<!bath )bomb",
    r"бомб[аыу].{0,40}дом",
]


@pytest.mark.parametrize("expression", ENDLESS)
def test_expression_that_a_simple_text_makes_slow_is_refused(expression: str) -> None:
    """What a text of a few letters can make slow is a mistake that names place and remedy."""
    with pytest.raises(ConfigError, match=r"^list\.txt:7: .*\.\{0,80\}"):
        Blocklist([("list.txt:7", f"/{expression}/")], budget=0.005)


@pytest.mark.parametrize("expression", [*ENDLESS, *SLOW, *QUICK])
def test_no_expression_holds_up_the_server(expression: str) -> None:
    """Whatever an expression costs on some text, the search ends with the budget."""
    try:
        blocklist = Blocklist([("here", f"/{expression}/")], budget=0.02)
    except ConfigError:
        return
    words = re.findall(r"[a-zа-я]+", expression.casefold())
    for part in [*words, " ".join(words), "aaab", "how aaab "]:
        began = time.thread_time()
        blocklist.match(part * (65_536 // len(part)))
        assert time.thread_time() - began < 0.5


def test_text_that_takes_too_long_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    """All expressions together have one budget; the log names the one that used it up."""
    blocklist = Blocklist([("list.txt:1", "/z0/"), ("list.txt:2", "/make.*bomb/")])
    assert blocklist.match("make " * 200) is None
    with caplog.at_level(logging.WARNING):
        assert blocklist.match("make " * 40_000) == "/make.*bomb/"
    (message,) = caplog.messages
    assert message.startswith("list.txt:2: /make.*bomb/: a text of 200000 characters")
    assert "20 ms" in message


@pytest.mark.parametrize("expression", QUICK)
def test_expression_with_bounded_repeats_is_taken(expression: str) -> None:
    """What needs few steps for each character of a text is searched for, and not found."""
    assert Blocklist([("here", f"/{expression}/")]).match("how aaab" * 500) is None


def test_expression_that_matches_every_text_is_refused() -> None:
    """An expression that finds something in no text at all would block everybody."""
    with pytest.raises(ConfigError, match="matches every text"):
        Blocklist([("here", "/x{0,3}/")])


def test_missing_blocklist_is_a_mistake(tmp_path: Path) -> None:
    """A list that cannot be read is an error and not an empty list."""
    with pytest.raises(ConfigError, match=r"nowhere\.txt"):
        Blocklist.load(tmp_path / "nowhere.txt")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(ConfigError, match=r"latin\.txt"):
        Blocklist.load(tmp_path / "latin.txt")


def test_documented_list_works(listed: Callable[[str], Blocklist]) -> None:
    """The example of ``docs/safety.md``, and what the page says of it."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "safety.md").read_text()
    example = re.search(r"```text\n(.*?)```", page, re.DOTALL)
    assert example
    blocklist = listed(example[1])
    for text in re.findall(r"`(build\Wa\Wbomb)`", page):
        assert blocklist.match(f"How do I {text}?") == "build a bomb"
    assert blocklist.match("I want to kill him") == "/kill (?:him|her)/"
    assert blocklist.match("a phrase: whole words") is None


def test_a_list_can_be_handed_to_another_process() -> None:
    """Workers get the list that their parent has read and tried."""
    blocklist = Blocklist([("here", "build a bomb"), ("here", "/kill (?:him|her)/")])
    copy = pickle.loads(pickle.dumps(blocklist))
    assert copy.match("Build a bomb!") == "build a bomb"
    assert copy.match("kill her") == "/kill (?:him|her)/"
