"""Every setting: the models, the example and the documentation say the same."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo

from orbit_server.config import Config, Section, load
from orbit_server.config.schema import (
    ApiKeysConfig,
    ChromaConfig,
    EmbeddingConfig,
    GeneralConfig,
    OllamaConfig,
    SafetyConfig,
)
from orbit_server.config.section import keys_of, section_of

from ..support.configuration import ORIGINAL, mistake, read

ROOT = Path(__file__).parents[2]


def default_of(info: FieldInfo) -> str:
    return json.dumps(info.get_default(call_default_factory=True), ensure_ascii=False)


def is_rare(info: FieldInfo) -> bool:
    return info.json_schema_extra == {"rare": True}


def rendered_example() -> str:
    """Return what config.yaml.example must say below its first paragraph."""
    often = "".join(rendered(Config, rare=False))
    seldom = "".join(f"# {line}".rstrip() + "\n" for line in rendered(Config, rare=True))
    return f"{often}# Rarely needed. To set one, write it into its section above.\n#\n{seldom}"


def rendered(model: type[Section], indent: str = "", *, rare: bool) -> list[str]:
    """Return the lines of a section: all keys that are ``rare``, or all that are not."""
    lines: list[str] = []
    for name, info in model.model_fields.items():
        if (section := section_of(info)) is not None:
            inner = rendered(section, f"{indent}  ", rare=rare)
            title = [] if rare else [f"{indent}# {info.description}\n"]
            end = [] if rare or indent else ["\n"]
            lines += [*title, f"{indent}{name}:\n", *inner, *end] if inner else []
        elif not info.exclude and is_rare(info) == rare:
            lines += [f"{indent}# {info.description}\n", f"{indent}{name}: {default_of(info)}\n"]
    return lines


def rendered_tables() -> dict[str, list[str]]:
    """Return the table rows of docs/configuration.md by section."""
    tables: dict[str, list[str]] = {}
    for key, info in keys_of(Config):
        row = f"| `{key}` | `{default_of(info)}` | {info.description} |"
        tables.setdefault(key.partition(".")[0], []).append(row)
    return tables


def test_example_says_what_the_models_say() -> None:
    """config.yaml.example has every key with its default and its meaning, in the same order."""
    text = (ROOT / "config.yaml.example").read_text(encoding="utf-8")
    _, _, body = text.partition("\n\n")
    assert body.rstrip("\n") == rendered_example().rstrip("\n")


def test_documentation_says_what_the_models_say() -> None:
    """docs/configuration.md has one table a section with every key, default and meaning."""
    text = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    found = {
        title: re.findall(r"^\| `.*$", body, re.MULTILINE)
        for title, body in re.findall(
            r"^### (\w+)\n(.*?)(?=^##|\Z)", text, re.DOTALL | re.MULTILINE
        )
    }
    assert found == rendered_tables()
    for name, info in Config.model_fields.items():
        assert info.exclude or f"### {name}\n\n{info.description}\n" in text


def test_documentation_names_every_ignored_key() -> None:
    """What a file of the original may still say is listed where its owner looks for it."""
    text = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    (warning, *_) = read(ORIGINAL).warnings
    for key in warning.rpartition(": ")[2].split(", "):
        assert f"`{key}`" in text


def test_example_loads_without_any_variable_as_the_defaults(tmp_path: Path) -> None:
    """A copy of config.yaml.example changes nothing."""
    text = (ROOT / "config.yaml.example").read_text(encoding="utf-8")
    assert read(text) == Config() == load(tmp_path / "config.yaml", environ={})


def test_env_example_sets_nothing() -> None:
    """A copy of .env.example is all comments, and speaks of the token."""
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    assert all(line.startswith("#") for line in text.splitlines() if line)
    assert "# ADMIN_TOKEN=" in text
    Path(".env").write_text(text)
    assert load(environ={}) == Config()


def test_every_field_says_its_meaning_in_one_line() -> None:
    """No key is without its sentence, and none breaks the table or the comment."""
    fields = [*keys_of(Config), *Config.model_fields.items()]
    assert len(fields) > 100
    for key, info in fields:
        assert info.description and info.description.endswith("."), key
        assert not set("|\n") & set(info.description), key


def test_every_default_is_a_value_that_may_be_written() -> None:
    """The model accepts its own defaults when they are given."""
    assert Config.model_validate(Config().model_dump()) == Config()


@pytest.mark.parametrize(
    ("general", "line", "overrides"),
    [
        ("port: 3000\n  https: {enabled: true, port: 3000, redirect_http: true}", 3, {}),
        ("port: 3443\n  https: {enabled: true, redirect_http: true}", 3, {}),
        ("https:\n    redirect_http: on\n    enabled: on\n    port: 80", 5, {"general.port": 80}),
    ],
    ids=["written", "default", "command line"],
)
def test_http_and_https_on_one_port_is_an_error(
    general: str, line: int, overrides: dict[str, Any]
) -> None:
    """Where both are served; whether the port was written or is the default, it is named."""
    found = mistake(f"general:\n  {general}\n", overrides=overrides)
    port = overrides.get("general.port") or (3000 if "3000" in general else 3443)
    assert found == (
        f"config.yaml:{line}: general.https.port: {port} is not allowed;"
        " it must be another port than general.port, where redirect_http listens"
    )


@pytest.mark.parametrize("https", ["enabled: true", "redirect_http: true"])
def test_one_port_is_right_where_only_one_is_served(https: str) -> None:
    """Without HTTPS its port means nothing; without the redirect general.port does not."""
    config = read(f"general: {{port: 3443, https: {{{https}}}}}")
    assert config.general.port == config.general.https.port


def test_default_collection_makes_keys_optional() -> None:
    """allow_default works as soon as there is a collection to answer from."""
    config = read("chroma: {collection: town}\napi_keys: {allow_default: true}")
    assert config.api_keys.allow_default


def test_options_are_named_as_ollama_names_them() -> None:
    """What the file calls num_threads is num_thread there, and absent when Ollama may choose."""
    assert OllamaConfig().options == {
        "temperature": 0.1,
        "top_p": 0.8,
        "top_k": 20,
        "repeat_penalty": 1.1,
        "num_predict": 1024,
        "num_ctx": 8192,
    }
    assert OllamaConfig(num_threads=8).options["num_thread"] == 8


def test_safety_made_in_code_is_off_until_a_mode_is_given() -> None:
    """The model itself has no history to respect."""
    assert not SafetyConfig(model="x").active
    assert SafetyConfig(mode="strict").active


def test_models_refuse_what_the_file_may_not_say() -> None:
    """Made in code, sections are checked alike, frozen, and say nothing secret."""
    with pytest.raises(ValidationError, match="a whole number from 1 to 65535"):
        GeneralConfig(port=0)
    with pytest.raises(ValidationError) as caught:
        ChromaConfig(headers={"a b": SecretStr("hidden-value")})
    assert "hidden-value" not in str(caught.value)
    with pytest.raises(ValidationError):
        Config.model_validate({"general": {"unknown": 1}})
    with pytest.raises(ValidationError):
        Config().general.port = 1
    with pytest.raises(ValidationError, match=r"chroma\.collection"):
        Config(api_keys=ApiKeysConfig(allow_default=True))
    with pytest.raises(ValidationError, match="less than half"):
        EmbeddingConfig(chunk_chars=200)
