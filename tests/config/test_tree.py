"""A file as a tree of keys with their lines; what is no YAML is one line."""

from pathlib import Path
from typing import Any

import pytest

from orbit_server.config import load, tree
from orbit_server.errors import ConfigError

from ..support.configuration import mistake, mistakes, read


def test_anchors_and_aliases_are_read() -> None:
    """One model for two tasks can be written once."""
    config = read("ollama: {model: &m 'qwen3:4b'}\nreranker: {model: *m}")
    assert config.reranker.model == "qwen3:4b"


def test_tags_are_an_error() -> None:
    """Nothing is executed, and nothing is silently text."""
    said = mistake("ollama:\n  model: !!python/object/apply:os.system 'true'")
    assert said == "config.yaml:2: ollama.model: YAML tags (!name) are not supported"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 'b", "config.yaml:1:6: not valid YAML: found unexpected end of stream"),
        ("general:\n  port: 1\n bad", "config.yaml:3:2: not valid YAML: "),
        ("a: b: c", "config.yaml:1:5: not valid YAML: mapping values are not allowed here"),
        ("a: 1\n---\nb: 2", "config.yaml:2:1: not valid YAML: but found another document"),
        ("a: *gone", "config.yaml:1:4: not valid YAML: found undefined alias something"),
        ("a:\n  - \x07", "config.yaml:2: not valid YAML: a character that YAML does not allow"),
        ('a: "\\UFFFFFFFF"', "config.yaml: not valid YAML: contains a number or an escape"),
        ("%YAML 1." + "9" * 5000 + "\n---\na: b", "config.yaml: not valid YAML: contains a number"),
        ("[" * 10_000, "config.yaml: not valid YAML: nested too deeply"),
        ("- general", "config.yaml:1: must consist of sections such as general:"),
        ("\n\njust text", "config.yaml:3: must consist of sections"),
        ("&a [*a]", "config.yaml:1: must consist of sections"),
        ("#" * (1 << 20) + "\n", "config.yaml: cannot be read: larger than 1 MiB"),
    ],
)
def test_what_is_not_yaml_is_one_line_with_its_place(text: str, said: str) -> None:
    """The place is the file, and line and column where there are any."""
    assert mistake(text).startswith(said)


def test_file_that_is_not_text_names_the_line() -> None:
    """Latin-1 is the usual case."""
    Path("config.yaml").write_bytes("a: 1\nb: ä".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"^config\.yaml:2: cannot be read: not UTF-8 text$"):
        load(environ={})


def test_byte_order_mark_is_no_part_of_the_first_key() -> None:
    """Editors on Windows write one."""
    Path("config.yaml").write_bytes(b"\xef\xbb\xbfgeneral: {port: 1}")
    assert load(environ={}).general.port == 1


def test_aliases_that_lead_to_themselves_or_explode_are_harmless() -> None:
    """Neither endless nor exponential: what is deeper than a value is not looked at."""
    bomb = "a0: &a0 [x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 30)
    )
    assert len(mistakes(bomb + "web: {cors_origins: *a29}")) == 31
    mistake("web: {cors_origins: &a [*a]}")
    mistake("chroma: {headers: &a {x: *a}}")
    assert "web.web: unknown key" in mistake("web: &w {web: *w}")


def test_tree_of_a_mapping() -> None:
    """A program's values stay what they are, paths become text, and nothing has a line."""
    given: dict[Any, Any] = {"a": Path("b"), 1: (2.5, None)}
    root = tree.from_mapping(given)
    (name, path), (number, values) = root.value
    assert (tree.scalar(name), tree.scalar(path), tree.scalar(number)) == ("a", "b", "1")
    assert [tree.scalar(each) for each in values.value] == [2.5, None]
    assert tree.line(root) == tree.line(path) == 0
    assert tree.is_null(values.value[1]) and tree.has_meaning(path)


def test_tree_of_a_file() -> None:
    """Scalars that may have been meant as text stay text; each node has its line."""
    root = tree.compose("a: 1.10\nb: 1.5\nc: yes\nd: !x y\n", "file")
    assert isinstance(root, tree.MappingNode)
    values = [value for _, value in root.value]
    assert [tree.scalar(value) for value in values] == ["1.10", 1.5, True, "y"]
    assert [tree.line(value) for value in values] == [1, 2, 3, 4]
    assert [tree.has_meaning(value) for value in values] == [True, True, True, False]
    assert tree.compose("", "file") is None
