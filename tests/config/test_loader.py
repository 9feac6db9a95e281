"""The configuration: what it accepts, what it says about mistakes, and that nothing leaks."""

import ipaddress
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo

from orbit_server.config.loader import load
from orbit_server.config.schema import (
    ApiKeysConfig,
    ChromaConfig,
    Config,
    EmbeddingConfig,
    GeneralConfig,
    OllamaConfig,
    SafetyConfig,
)
from orbit_server.config.section import Section, keys_of, section_of
from orbit_server.errors import ConfigError

ROOT = Path(__file__).parents[2]

# The configuration of the system that this one replaces, every key of its example and of its code.
ORIGINAL = """
general:
  port: 3001
  host: 0.0.0.0
  verbose: true
  https: {enabled: false, port: 3443, cert_file: "./cert.pem", key_file: "./key.pem"}
logging:
  level: "INFO"
  file:
    enabled: true
    directory: "logs"
    filename: "server.log"
    max_size_mb: 10
    backup_count: 30
    rotation: "midnight"
    format: "json"
  console: {enabled: true, format: "text"}
  capture_warnings: true
  propagate: false
elasticsearch:
  enabled: false
  node: "https://localhost:9200"
  index: "chatbot"
  auth: {username: "${ELASTICSEARCH_USERNAME}", password: "${ELASTICSEARCH_PASSWORD}"}
chroma: {host: localhost, port: 8000, collection: qa-chatbot, confidence_threshold: 0.85,
         relevance_threshold: 0.7}
ollama:
  base_url: http://localhost:11434
  temperature: 0.1
  top_p: 0.8
  top_k: 20
  repeat_penalty: 1.1
  num_predict: 1024
  num_ctx: 8192
  num_threads: 8
  model: gemma3:4b
  embed_model: bge-m3
  stream: true
  timeout: 10
  connector_limit: 20
  summarization: {enabled: false, model: gemma3:1b, max_length: 100, min_text_length: 500}
safety:
  enabled: true
  mode: fuzzy
  model: gemma3:12b
  max_retries: 3
  retry_delay: 1.0
  request_timeout: 15
  allow_on_timeout: false
  temperature: 0.0
  top_p: 1.0
  top_k: 1
  num_predict: 20
  stream: false
  repeat_penalty: 1.1
reranker: {enabled: false, model: gemma3:4b, batch_size: 5, temperature: 0.0, top_n: 3}
api_keys: {header_name: X-API-Key, require_for_health: true, prefix: api_, allow_default: false}
mongodb: {host: "${MONGO_HOST}", port: 27017, database: orbit, apikey_collection: api_keys,
          username: "${MONGO_USER}", password: "${MONGO_PASSWORD}"}
"""


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, so that no file of the developer is read."""
    monkeypatch.chdir(tmp_path)


def read(
    text: str, environ: Mapping[str, str] | None = None, overrides: Mapping[str, Any] | None = None
) -> Config:
    Path("config.yaml").write_text(text, encoding="utf-8")
    return load(environ=environ or {}, overrides=overrides)


def mistakes(
    text: str, environ: Mapping[str, str] | None = None, overrides: Mapping[str, Any] | None = None
) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text, environ, overrides)
    assert all(line.isprintable() for line in caught.value.mistakes)
    return caught.value.mistakes


def mistake(
    text: str, environ: Mapping[str, str] | None = None, overrides: Mapping[str, Any] | None = None
) -> str:
    (only,) = mistakes(text, environ, overrides)
    return only


def default_of(info: FieldInfo) -> str:
    return json.dumps(info.get_default(call_default_factory=True), ensure_ascii=False)


# The models, config.yaml.example and docs/configuration.md say the same


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


# Where the values come from


def test_no_file_at_all_means_defaults() -> None:
    """The server starts in an empty folder."""
    config = load(environ={})
    assert config == Config()
    assert (config.general.port, config.chroma.host, config.warnings) == (3000, None, ())
    assert config.admin_token is None


@pytest.mark.parametrize(
    "text",
    ["", "# nothing\n", "general:\nollama: ~\nsafety: {}\nlogging: {file: null}\n", "---\n...\n"],
)
def test_empty_sections_mean_defaults(text: str) -> None:
    """A section of which everything is commented out is as good as none."""
    assert read(text) == Config()


def test_file_is_the_argument_then_the_variable_then_the_working_directory() -> None:
    """The first of the three that is named is read, and only that one."""
    for port, name in enumerate(("given.yaml", "named.yaml", "config.yaml"), start=1):
        Path(name).write_text(f"general: {{port: {port}}}")
    environ = {"ORBIT_CONFIG": "named.yaml"}
    assert load(Path("given.yaml"), environ=environ).general.port == 1
    assert load(environ=environ).general.port == 2
    assert load(environ={"ORBIT_CONFIG": ""}).general.port == 3


@pytest.mark.parametrize("environ", [{}, {"ORBIT_CONFIG": "absent.yaml"}])
def test_named_file_that_is_missing_is_an_error(environ: dict[str, str]) -> None:
    """A file that was asked for is never replaced by defaults."""
    with pytest.raises(ConfigError, match=r"^absent\.yaml: cannot be read: No such file"):
        load(None if environ else Path("absent.yaml"), environ=environ)


@pytest.mark.parametrize("name", [".", "a\0b", "x" * 5000, "config.yaml/below"])
def test_path_that_is_no_file_is_an_error(name: str) -> None:
    """Folders and impossible names are told in one line."""
    Path("config.yaml").touch()
    with pytest.raises(ConfigError, match="cannot be read: ") as caught:
        load(Path(name), environ={})
    assert len(caught.value.mistakes) == 1
    assert str(caught.value).isprintable()


def test_pipe_is_refused_instead_of_waited_for() -> None:
    """The file, the .env and a text that the file names: each is an error at once."""
    os.mkfifo("pipe")
    with pytest.raises(ConfigError, match=r"^pipe: cannot be read: it is not a file$"):
        load(Path("pipe"), environ={})
    message = "pipe: cannot be read: it is not a file"
    assert message in mistake("general: {no_results_message_file: pipe}")
    os.mkfifo(".env")
    with pytest.raises(ConfigError, match=r"^\.env: cannot be read: it is not a file$"):
        load(environ={})


def test_file_that_may_not_be_read_is_an_error(tmp_path: Path) -> None:
    """Without permission there is one clear line; root is another user meanwhile."""
    file = tmp_path / "secret.yaml"
    file.touch(mode=0o000)
    was = os.geteuid()
    if was == 0:
        os.seteuid(65534)
    try:
        with pytest.raises(ConfigError, match=r"secret\.yaml: cannot be read: Permission denied"):
            load(file, environ={})
    finally:
        os.seteuid(was)


def test_overrides_win_over_the_file_and_over_its_mistakes() -> None:
    """What the command line says replaces what the file says before anything is checked."""
    text = "general:\n  port: ${MISSING}\n  host: [wrong]\n"
    config = read(text, overrides={"general.port": "3002", "general.host": "127.0.0.1"})
    assert (config.general.port, config.general.host) == (3002, "127.0.0.1")


def test_overrides_are_checked_like_the_file_but_taken_literally() -> None:
    """A wrong option is blamed on the command line, and ${} in one is text."""
    assert mistake("", overrides={"general.port": 0}) == (
        "command line: general.port: 0 is not allowed; it must be a whole number from 1 to 65535"
    )
    assert "did you mean general.port" in mistake("", overrides={"general.prot": 1})
    assert "unknown key" in mistake("", overrides={"general": {"port": 1}})
    config = read("", overrides={"answer.system_prompt": "costs ${5}"})
    assert config.answer.system_prompt == "costs ${5}"


# .env and ${VAR}


def test_dotenv_lies_beside_the_file_or_in_the_working_directory(tmp_path: Path) -> None:
    """The folder of the file comes first; os.environ stays as it was."""
    before = dict(os.environ)
    folder = tmp_path / "etc"
    folder.mkdir()
    file = folder / "orbit.yaml"
    file.write_text("ollama: {model: '${MODEL}'}")
    Path(".env").write_text("MODEL=from-here\n")
    assert load(file, environ={}).ollama.model == "from-here"
    (folder / ".env").write_text("export MODEL='from beside' # why\n")
    assert load(file, environ={}).ollama.model == "from beside"
    assert load(file, environ={"MODEL": "from-environment"}).ollama.model == "from-environment"
    assert dict(os.environ) == before


def test_environ_is_the_real_one_unless_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an argument the variables of the process count."""
    monkeypatch.setenv("ADMIN_TOKEN", "a" * 16)
    assert load().admin_token == SecretStr("a" * 16)
    assert load(environ={}).admin_token is None


def test_dotenv_that_is_a_folder_or_broken() -> None:
    """A virtual environment called .env is not one; bytes that are no text are named."""
    Path(".env").mkdir()
    assert load(environ={}) == Config()
    Path(".env").rmdir()
    Path(".env").write_bytes(b"A=1\nB=\xff\n")
    with pytest.raises(ConfigError, match=r"^\.env:2: cannot be read: not UTF-8 text$"):
        load(environ={})


def test_dotenv_takes_a_dollar_literally() -> None:
    """A token with a $ in it arrives as it was written."""
    Path(".env").write_text('ADMIN_TOKEN="0123456789${HOME}x"\nEMPTY\n')
    token = load(environ={"HOME": "/root"}).admin_token
    assert token is not None
    assert token.get_secret_value() == "0123456789${HOME}x"


def test_variables_are_put_into_texts_numbers_lists_and_mappings() -> None:
    """Several in one text, and $${ for a plain ${."""
    text = """
general: {port: "${PORT}", verbose: "${YES}", trusted_proxies: ["${NET}/8"]}
ollama: {base_url: "http://${HOST}:${PORT}/", temperature: "${T}", model: "a$${B}$C$"}
chroma: {headers: {x-chroma-token: "${KEY}"}, host: "${EMPTY}"}
"""
    environ = {"PORT": "3002", "YES": "On", "NET": "10.0.0.0", "HOST": "gpu", "T": ".5"}
    config = read(text, {**environ, "KEY": "hidden", "EMPTY": ""})
    assert (config.general.port, config.general.verbose) == (3002, True)
    assert config.general.trusted_proxies == (ipaddress.ip_network("10.0.0.0/8"),)
    assert (config.ollama.base_url, config.ollama.temperature) == ("http://gpu:3002", 0.5)
    assert config.ollama.model == "a${B}$C$"
    assert config.chroma.headers == {"x-chroma-token": SecretStr("hidden")}
    assert config.chroma.host is None


def test_missing_variable_names_key_and_variable() -> None:
    """Every missing one is told, with its line."""
    assert mistakes("ollama:\n  model: a${ONE}b${TWO}\nchroma: {host: '${THREE}'}") == [
        "config.yaml:2: ollama.model: "
        "the variable ONE is set neither in the environment nor in .env",
        "config.yaml:2: ollama.model: "
        "the variable TWO is set neither in the environment nor in .env",
        "config.yaml:3: chroma.host: "
        "the variable THREE is set neither in the environment nor in .env",
    ]


@pytest.mark.parametrize("written", ["${}", "${A-B}", "${A", "${ A }", "${A:-x}", "${1}"])
def test_malformed_reference_is_an_error(written: str) -> None:
    """A reference that would silently be text says how references are written."""
    assert "is written ${NAME}" in mistake(f"ollama: {{model: '{written}'}}", {"A": "x"})


@pytest.mark.parametrize(
    "text",
    [
        "elasticsearch: {auth: {username: '${X}', password: '${X}'}}",
        "elasticsearch: {enabled: 'off', node: '${X}'}",
        "reranker: {enabled: false, model: '${X}', top_n: '${X}'}",
        "general: {https: {cert_file: '${X}', port: '${X}'}}",
        "safety: {enabled: 0, model: '${X}', mode: '${X}'}",
        "safety: {model: '${X}', mode: Disabled}",
        "safety: {model: '${X}', enabled: '${OFF}'}",
        "mongodb: {password: '${X}', deep: [{er: '${X}'}]}",
        "ollama: {summarization: {model: '${X}'}}",
    ],
)
def test_section_that_is_switched_off_needs_no_variable(text: str) -> None:
    """Secrets of services that are not used need not be there."""
    config = read(text, {"OFF": "false"})
    assert not config.safety.active
    assert config.elasticsearch.auth.password is None


@pytest.mark.parametrize(
    "text",
    [
        "elasticsearch: {enabled: true, node: '${X}'}",
        "elasticsearch: {enabled: '${X}'}",
        "reranker: {model: '${X}', enabled: 'yes'}",
        "general: {https: {cert_file: '${X}', enabled: on}}",
        "general: {host: '${X}', https: {enabled: false}}",
        "safety: {model: '${X}'}",
        "safety: {model: '${X}', enabled: null, mode: strict}",
        "safety: {mode: '${X}'}",
        "safety: {enabled: '${X}'}",
    ],
)
def test_section_that_is_in_use_needs_its_variables(text: str) -> None:
    """What switches a section on or off always needs its own."""
    assert "the variable X is set neither" in mistake(text)


# What values may be


@pytest.mark.parametrize("word", ["true", "Yes", "ON", "1", "'TRUE'", "'yes'", "'1'", "' on '"])
def test_words_for_true(word: str) -> None:
    """All that the original accepted, with and without quotes."""
    assert read(f"general: {{verbose: {word}}}").general.verbose is True


@pytest.mark.parametrize("word", ["false", "No", "OFF", "0", "'False'", "'no'", "'0'", "'off'"])
def test_words_for_false(word: str) -> None:
    """The string "false" is false."""
    assert read(f"chroma: {{ssl: {word}}}").chroma.ssl is False


@pytest.mark.parametrize("word", ["2", "y", "'ja'", "''", "null", "[true]", "{a: 1}", "1.0", "-1"])
def test_anything_else_is_not_a_switch(word: str) -> None:
    """Nothing is true just because it is there."""
    said = mistake(f"reranker:\n  enabled: {word}")
    assert said.startswith("config.yaml:2: reranker.enabled: ")
    assert said.endswith("is not allowed; it must be true or false (or yes/no, on/off, 1/0)")


WRONG = [
    ("general.port", "0", "0 is not allowed; it must be a whole number from 1 to 65535"),
    ("general.port", "65536", "65536 is not allowed; it must be a whole number from 1 to 65535"),
    ("general.port", "'abc'", "'abc' is not allowed; it must be a whole number"),
    ("general.port", "3000.5", "3000.5 is not allowed"),
    ("general.port", "true", "True is not allowed"),
    ("general.port", "null", "nothing (null) is not allowed"),
    ("general.port", "[3000]", "[3000] is not allowed"),
    ("general.port", "{a: b}", "a mapping is not allowed"),
    ("general.port", "2024-01-01", "'2024-01-01' is not allowed"),
    ("general.port", "9" * 5000, "…' is not allowed"),
    ("general.host", "http://0.0.0.0", "a host name or address alone"),
    ("general.host", "localhost:3000", "a host name or address alone"),
    ("general.trusted_proxies", "[10.0.0.1/8]", "a list of IP addresses and networks"),
    ("general.trusted_proxies", "['*']", "a list of IP addresses and networks"),
    ("general.trusted_proxies", "10.0.0.1", "a list of IP addresses and networks"),
    ("general.trusted_proxies", "[5]", "a list of IP addresses and networks"),
    ("general.drain_seconds", "-1", "a number of seconds from 0 to 86400"),
    ("logging.level", "LOUD", "one of DEBUG, INFO, WARNING, ERROR, CRITICAL"),
    ("logging.level", "[INFO]", "one of DEBUG"),
    ("logging.console.format", "xml", "one of text, json"),
    ("logging.file", "true", "must be a section with keys such as enabled, directory"),
    ("chroma.host", "http://h:8000", "written as host: example, port: 8000, and ssl: true"),
    ("chroma.path", "''", "text that is not empty"),
    ("chroma.path", '"a\\0b"', "text that is not empty"),
    ("chroma.path", '"\\uD800"', "text that is not empty"),
    ("chroma.collection", "true", "text that is not empty"),
    ("chroma.timeout", "0", "a number of seconds above 0 up to 86400"),
    ("chroma.timeout", ".nan", "a number of seconds above 0"),
    ("chroma.timeout", ".inf", "a number of seconds above 0"),
    ("chroma.confidence_threshold", "2.1", "a number from 0 to 2, or null"),
    ("chroma.headers", "[a]", "a mapping of header names to texts"),
    ("chroma.headers", "{'a b': c}", "a mapping of header names to texts"),
    ("chroma.headers", '{a: "c\\r\\nd: e"}', "a mapping of header names to texts"),
    ("chroma.headers", "{a: [c]}", "a mapping of header names to texts"),
    ("ollama.base_url", "localhost:11434", "a URL such as http://localhost:11434"),
    ("ollama.base_url", "ftp://h", "a URL such as"),
    ("ollama.base_url", "http://h:99999", "a URL such as"),
    ("ollama.base_url", "'http://[::1'", "a URL such as"),
    ("ollama.base_url", "'http://a b'", "a URL such as"),
    ("ollama.base_url", "http://h/?a=b", "a URL such as"),
    ("ollama.base_url", "http://", "a URL such as"),
    ("ollama.temperature", "3", "a number from 0 to 2"),
    ("ollama.top_p", "1.1", "a number from 0 to 1"),
    ("ollama.num_ctx", "0", "a whole number from 1"),
    ("ollama.keep_alive", "soon", 'a time such as "10m"'),
    ("ollama.keep_alive", "true", 'a time such as "10m"'),
    ("ollama.keep_alive", "1e300", 'a time such as "10m"'),
    ("ollama.think", "hard", "true, false, low, medium or high"),
    ("embedding.chunk_overlap", "600", "less than half of embedding.chunk_chars, which is 1200"),
    ("embedding.chunk_chars", "200", "150 is not allowed; it must be less than half"),
    ("embedding.provider", "openai", "one of ollama, lexical"),
    ("retrieval.top_k", "0", "a whole number from 1 to 100"),
    ("chat.ping_seconds", "0.5", "a number of seconds from 1 to 3600"),
    ("chat.stream_format", "new", "one of delta, cumulative"),
    ("api_keys.header_name", "X API Key", "a header name"),
    ("api_keys.prefix", "a/b", "1 to 32 letters"),
    ("api_keys.allow_default", "true", "it must be false unless chroma.collection names"),
    ("database.url", "orbit.db", "an SQLAlchemy URL"),
    ("web.cors_origins", "https://example.org", "a list of origins"),
    ("web.cors_origins", "[https://example.org/page]", "a list of origins"),
    ("web.cors_origins", "['https://*.example.org']", "a list of origins"),
    ("web.color", "red", "a color such as"),
    ("web.links", "[https://example.org]", "a mapping of labels to http"),
    ("web.links", "{Imprint: 'javascript:alert(1)'}", "a mapping of labels to http"),
    ("web.language", "nl", "one of auto, en, de, fr, es"),
    ("safety.mode", "off", "one of disabled, fuzzy, strict"),
    ("elasticsearch.node", "https://u:p@h:9200", "user and password belong in elasticsearch.auth"),
    ("elasticsearch.index", "Chat Logs", "a name of small letters"),
]


@pytest.mark.parametrize(("key", "written", "said"), WRONG)
def test_wrong_value_names_place_key_value_and_what_is_allowed(
    key: str, written: str, said: str
) -> None:
    """One line a mistake, at the line where it stands."""
    *sections, name = key.split(".")
    text = "".join(f"{'  ' * depth}{part}:\n" for depth, part in enumerate(sections))
    line = len(sections) + 1
    found = mistake(f"{text}{'  ' * len(sections)}{name}: {written}\n")
    assert found.startswith(f"config.yaml:{line}: ")
    assert said in found
    assert len(found) < 400
    if key != "embedding.chunk_chars":
        assert f": {key}: " in found


RIGHT = [
    ("general.host", "'::'", "::"),
    ("general.trusted_proxies", "null", ()),
    ("logging.level", "debug", "DEBUG"),
    ("chroma.collection", "2024", "2024"),
    ("chroma.collection", "0123", "0123"),
    ("chroma.collection", "1.10", "1.10"),
    ("chroma.collection", "2024-13-99", "2024-13-99"),
    ("chroma.timeout", "1e1", 10.0),
    ("chroma.relevance_threshold", "'0.5'", 0.5),
    ("ollama.base_url", "https://user:pw@host/ollama/", "https://user:pw@host/ollama"),
    ("ollama.num_predict", "-1", -1),
    ("ollama.num_thread", "4", 4),
    ("ollama.keep_alive", "1h30m", "1h30m"),
    ("ollama.keep_alive", "-1", -1),
    ("ollama.keep_alive", "'300'", 300),
    ("ollama.keep_alive", "-1m", "-1m"),
    ("ollama.think", "High", "high"),
    ("ollama.think", "'yes'", True),
    ("web.cors_origins", "[https://example.org:8443/]", ("https://example.org:8443",)),
    ("web.cors_origins", "[]", ()),
    ("safety.enabled", "null", None),
    ("safety.mode", "Strict", "strict"),
    ("safety.categories", "[violence, 'self-harm']", ("violence", "self-harm")),
]


@pytest.mark.parametrize(("key", "written", "meant"), RIGHT)
def test_right_value_is_read(key: str, written: str, meant: object) -> None:
    """Values mean what their writer meant."""
    section, name = key.split(".")
    config = read(f"{section}:\n  {name}: {written}\n")
    assert getattr(getattr(config, section), name.replace("num_thread", "num_threads")) == meant


def test_anchors_and_aliases_are_read() -> None:
    """One model for two tasks can be written once."""
    config = read("ollama: {model: &m 'qwen3:4b'}\nreranker: {model: *m}")
    assert config.reranker.model == "qwen3:4b"


def test_all_mistakes_are_told_at_once_in_order() -> None:
    """Every kind of mistake at once, by line."""
    text = """\
general:
  port: 70000
  prot: 1
  port: 2
ollama: 5
chroma:
  host: ${NOWHERE}
  timeout: -1
unknown: {a: 1}
"""
    told = mistakes(text, {"ADMIN_TOKEN": "short"}, {"retrieval.top_k": 0})
    places = [line.partition(": ")[0] for line in told]
    assert set(places[:2]) == {"command line", "environment"}
    assert places[2:] == [f"config.yaml:{line}" for line in (2, 3, 4, 5, 7, 8, 9)]
    assert "general.port: is given twice, in line 2 already" in told[4]


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


# Unknown keys


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("general: {prot: 1}", "general.prot: unknown key; did you mean general.port?"),
        ("genaral: {port: 1}", "genaral: unknown key; did you mean general?"),
        ("general: {level: INFO}", "did you mean logging.level?"),
        ("general: {levl: INFO}", "did you mean logging.level?"),
        ("port: 1", "did you mean general.port or general.https.port or chroma.port?"),
        ("general: {Port: 1}", "did you mean general.port?"),
        ("chroma: {confidence-threshold: 1}", "did you mean chroma.confidence_threshold?"),
        ("reranker: {top_k: 1}", "did you mean reranker.top_n or ollama.top_k or retrieval.top_k?"),
        ("web: {zzzzzz: 1}", "unknown key; known here: cors_origins, page, title"),
        ("zzzzzz: 1", "unknown key; known here: general, logging, "),
        ("web: {1: 2}", "web.1: unknown key"),
        ("web: {null: 2}", "web.null: unknown key"),
        ("web: {true: 2}", "web.true: unknown key"),
        ("web: {[a]: 2}", "web: a key must be plain text"),
        ("? {a: b}\n: 2", "top level: a key must be plain text"),
        ("general.port: 3000", "general.port: unknown key; write port inside the section general"),
        ("warnings: [a]", "warnings: unknown key"),
        ("web: &w {<<: *w}", "web.<<: unknown key"),
        (f"web: {{{'x' * 90}: 1}}", "unknown key"),
        ('web: {"a\\nb": 1}', "unknown key"),
    ],
)
def test_unknown_key_names_the_nearest_known_one(text: str, said: str) -> None:
    """Also when the key lives in another section."""
    assert said in mistake(text)


@pytest.mark.parametrize(
    "text",
    ["ADMIN_TOKEN: x", "admin_token: x", "general: {admin_token: x}", "web: {Admin-Token: x}"],
)
def test_admin_token_in_the_file_is_sent_where_it_belongs(text: str) -> None:
    """A file that is shown around must not hold the token."""
    assert "belongs in the variable ADMIN_TOKEN" in mistake(text)


def test_same_key_twice_is_an_error() -> None:
    """Also under its two names, and inside a mapping."""
    assert "line 1 already" in mistake("ollama: {num_thread: 1,\n num_threads: 2}")
    assert "chroma.headers.a: is given twice" in mistake("chroma: {headers: {a: b, a: c}}")
    assert "general: is given twice" in mistake("general:\n  port: 1\ngeneral:\n  port: 2\n")


def test_tags_are_an_error() -> None:
    """Nothing is executed, and nothing is silently text."""
    said = mistake("ollama:\n  model: !!python/object/apply:os.system 'true'")
    assert said == "config.yaml:2: ollama.model: YAML tags (!name) mean nothing here"


# Files that are not YAML


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


# A file of the original


def test_file_of_the_original_loads_with_its_warnings() -> None:
    """Every key of the original means the same, and what means nothing is named in one warning."""
    config = read(ORIGINAL)
    ignored, thresholds = config.warnings
    assert ignored == (
        "config.yaml: these keys no longer have any effect and are ignored: logging.file.filename, "
        "logging.file.backup_count, logging.file.rotation, "
        "logging.file.format, logging.capture_warnings, logging.propagate, ollama.stream, "
        "ollama.timeout, ollama.connector_limit, ollama.summarization, safety.stream, mongodb"
    )
    assert "chroma.confidence_threshold and chroma.relevance_threshold" in thresholds
    assert "`calibrate`" in thresholds
    assert (config.general.port, config.general.verbose) == (3001, True)
    assert (config.chroma.host, config.chroma.collection) == ("localhost", "qa-chatbot")
    assert (config.chroma.confidence_threshold, config.chroma.relevance_threshold) == (0.85, 0.7)
    assert (config.ollama.num_threads, config.safety.mode) == (8, "fuzzy")
    assert config.safety.active and config.api_keys.require_for_health
    assert config.elasticsearch.auth.username is None


def test_short_example_of_the_original_loads() -> None:
    """The keys its README shows."""
    config = read(
        "general: {port: 3000, host: 0.0.0.0, verbose: false, https: {enabled: false}}\n"
        "logging: {level: INFO, file: {enabled: true}, console: {enabled: true}}\n"
        "chroma: {host: localhost, port: 8000, collection: qa}\n"
        "ollama: {base_url: 'http://localhost:11434', model: 'gemma3:1b', embed_model: bge-m3}\n"
        "reranker: {enabled: true, model: 'gemma3:1b', top_n: 3}\n"
        "safety: {mode: strict, model: 'gemma3:12b'}\n"
    )
    assert config.warnings == ()
    assert config.safety.active and config.reranker.enabled


@pytest.mark.parametrize(
    ("text", "mode", "active"),
    [
        ("", "disabled", False),
        ("safety:", "disabled", False),
        ("safety: {model: x}", "fuzzy", True),
        ("safety: {enabled: true}", "fuzzy", True),
        ("safety: {enabled: 'false'}", "fuzzy", False),
        ("safety: {mode: strict}", "strict", True),
        ("safety: {mode: strict, enabled: false}", "strict", False),
        ("safety: {mode: disabled, enabled: true}", "disabled", False),
    ],
)
def test_safety_section_means_safety(text: str, mode: str, active: bool) -> None:
    """As in the original a section without a mode checks questions; no section does not."""
    safety = read(text).safety
    assert (safety.mode, safety.active) == (mode, active)


def test_safety_made_in_code_is_off_until_a_mode_is_given() -> None:
    """The model itself has no history to respect."""
    assert not SafetyConfig(model="x").active
    assert SafetyConfig(mode="strict").active


def test_safety_prompt_file_has_two_names() -> None:
    """The one in the safety section wins."""
    assert read("general: {safety_prompt_file: a.txt}").safety.prompt_file == "a.txt"
    both = "general: {safety_prompt_file: a.txt}\nsafety: {prompt_file: b.txt}"
    assert read(both).safety.prompt_file == "b.txt"


def test_no_results_message_comes_from_its_file() -> None:
    """load reads the file, and says where the key stands when it cannot."""
    text = "answer: {no_results_message: short}\ngeneral:\n  no_results_message_file: none.txt\n"
    assert mistake(text) == (
        "config.yaml:3: general.no_results_message_file: "
        "none.txt: cannot be read: No such file or directory"
    )
    Path("none.txt").write_text("Nichts gefunden.\n", encoding="utf-8")
    assert read(text).answer.no_results_message == "Nichts gefunden."
    Path("none.txt").write_text(" \n")
    assert "config.yaml:3: " in mistake(text)


def test_chat_log_cannot_be_switched_off_unnoticed() -> None:
    """Whoever switches log files off reads that chats are written all the same."""
    (warning,) = read("logging: {file: {enabled: false}}").warnings
    assert "the chat log is always written" in warning


def test_proofs_that_nobody_can_ask_for_are_told() -> None:
    """The folder of the authority's proofs is shown over HTTP, and HTTPS alone has none."""
    acme = "general: {acme_dir: proofs, https: {enabled: %s, redirect_http: %s}}"
    (warning,) = read(acme % ("true", "false")).warnings
    assert warning.startswith("config.yaml: general.acme_dir is of no use")
    assert "general.port" in warning and "general.https.redirect_http" in warning
    for enabled, redirect in (("true", "true"), ("false", "false")):
        assert read(acme % (enabled, redirect)).warnings == ()


# Secrets


@pytest.mark.parametrize("token", ["short", "fifteen letters", "with space in the token", "ö" * 20])
def test_admin_token_that_is_too_weak_is_an_error(token: str) -> None:
    """It must be long, and fit into a header."""
    said = mistake("", {"ADMIN_TOKEN": token})
    assert said.startswith("environment: ADMIN_TOKEN: the value (not shown) is not allowed; ")
    assert token not in said


def test_admin_token_may_be_empty_or_good() -> None:
    """An empty variable is none."""
    assert read("", {"ADMIN_TOKEN": ""}).admin_token is None
    config = read("", {"ADMIN_TOKEN": "0123456789abcdef"})
    assert config.admin_token == SecretStr("0123456789abcdef")
    assert "admin_token" not in config.model_dump()


SECRET = "hunter2hunter2"


@pytest.mark.parametrize(
    "text",
    [
        f"elasticsearch: {{auth: {{password: [{SECRET}]}}}}",
        f"elasticsearch: {{auth: {{pasword: {SECRET}}}}}",
        f"elasticsearch: {{auth: {SECRET}}}",
        f"elasticsearch: {SECRET}",
        f"elasticsearch: {{node: 'https://elastic:{SECRET}@h'}}",
        f"elasticsearch: {{auth: {{password: *{SECRET}}}}}",
        f"elasticsearch: {{auth: {{password: !{SECRET} x}}}}",
        f"elasticsearch: {{auth: {{password: {SECRET}: x}}}}",
        f"elasticsearch: {{auth: {{password: '{SECRET}}}}}",
        f"elasticsearch: {{auth: {{password: %{SECRET}}}}}",
        f'elasticsearch: {{auth: {{password: "\\{SECRET}"}}}}',
        f"chroma: {{headers: {SECRET}}}",
        f"chroma: {{headers: [{SECRET}]}}",
        f"chroma: {{headers: {{x: [{SECRET}]}}}}",
        f"chroma: {{headers: {{'x y': {SECRET}}}}}",
        f"database: {{url: 'postgresql:{SECRET}'}}",
        f"database: {{url: 'postgresql://u:{SECRET} @h/db'}}",
        f"database: {{password: {SECRET}}}",
        f"admin_token: {SECRET}",
        f"api_key: {SECRET}",
        f"general: {{port: {{password: {SECRET}}}}}",
        f"ollama: {{base_url: 'https://u:{SECRET}@h:x'}}",
        f"ollama: {{base_url: 'https://h/?key={SECRET}'}}",
        "general: {port: '${KEY}'}",
        "general: {host: 'a ${KEY}'}",
        "general: {trusted_proxies: ['${KEY}']}",
        "logging: {level: '${KEY}'}",
    ],
)
def test_no_secret_is_in_an_error(text: str) -> None:
    """Neither values of secret keys, nor values from variables, nor what a syntax error quotes."""
    told = "\n".join(mistakes(text, {"KEY": SECRET}))
    assert SECRET not in told
    assert "hunter" not in told


def test_no_secret_is_in_repr_or_str() -> None:
    """A configuration may be logged."""
    config = read(
        f"elasticsearch: {{auth: {{password: {SECRET}}}}}\n"
        f"chroma: {{headers: {{x-chroma-token: {SECRET}}}}}\n"
        f"ollama: {{base_url: 'https://u:{SECRET}@h'}}\n"
        f"database: {{url: 'postgresql+asyncpg://u:{SECRET}@h/db?password={SECRET}'}}\n",
        {"ADMIN_TOKEN": SECRET + SECRET},
    )
    assert SECRET in config.database.url
    assert config.elasticsearch.auth.password == SecretStr(SECRET)
    for text in (
        repr(config),
        str(config),
        repr(config.database),
        f"{config.ollama} {config.chroma}",
    ):
        assert SECRET not in text
    assert "postgresql+asyncpg://***@h/db?***" in repr(config)


# Anything at all

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates()
NAMES = st.sampled_from(sorted({part for key, _ in keys_of(Config) for part in key.split(".")}))
TREES = st.recursive(
    SCALARS | st.sampled_from(["${A}", "${B}", "$${", "1", "false", "http://a", "disabled"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.text(), inner, max_size=4)
    ),
    max_leaves=20,
)
SHAPED = st.fixed_dictionaries(
    {},
    optional={
        name: st.dictionaries(st.sampled_from(sorted(section.model_fields)), TREES, max_size=4)
        for name, info in Config.model_fields.items()
        if (section := section_of(info)) is not None
    },
)
anything = settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def config_or_error(text: str) -> None:
    Path("config.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        config = load(environ={"A": "1"})
    except ConfigError as error:
        assert error.mistakes
        assert all(line.isprintable() for line in error.mistakes)
    else:
        assert Config.model_validate(config.model_dump()) == config.model_copy(
            update={"warnings": ()}
        )


@anything
@given(st.text(alphabet=st.sampled_from("ab:-?&*!|>%@`'\"#{}[],<~$\\\n \t0.ä\x00\x85\ufeff")))
@example("? |\n")
@example("!<tag:yaml.org,2002:int> abc: 1")
@example("general: {port: !!int abc}")
@example("general: {port: !!float []}")
@example("general: !!set {a, b}")
@example("logging: &a {file: *a}")
@example("a: " + "{a: " * 2000)
def test_any_text_is_a_configuration_or_an_error(text: str) -> None:
    """Whatever the file says, there is no traceback."""
    config_or_error(text)


@anything
@given(TREES | SHAPED)
def test_any_tree_is_a_configuration_or_an_error(tree: object) -> None:
    """Values of every kind in every place are read or refused, and what was read is stable."""
    config_or_error(yaml.safe_dump(tree, allow_unicode=True))


@anything
@given(st.text())
def test_any_dotenv_is_read_or_refused(text: str) -> None:
    """A broken .env never costs more than a line."""
    Path("config.yaml").write_text("")
    Path(".env").write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        load(environ={})
    except ConfigError as error:
        assert error.mistakes
    finally:
        Path(".env").unlink()
