"""What a value may be, how it may be written, and what is said of any other."""

import pytest
from pydantic import SecretStr

from orbit_server.config import values
from orbit_server.observability.redaction import PATTERNS

from ..support.configuration import mistake, read


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
    ("database.url", "mysql+aiomysql://h/db", "or postgresql://user:password@host/orbit"),
    ("database.url", "postgresql+psycopg://h/db", "or postgresql://user:password@host/orbit"),
    ("web.cors_origins", "https://example.org", "a list of origins"),
    ("web.cors_origins", "[https://example.org/page]", "a list of origins"),
    ("web.cors_origins", "['https://*.example.org']", "a list of origins"),
    ("web.color", "red", "a color such as"),
    ("web.links", "[https://example.org]", "a mapping of labels to http"),
    ("web.links", "{Imprint: 'javascript:alert(1)'}", "a mapping of labels to http"),
    ("web.language", "nl", "one of auto, en, de, fr, es"),
    ("safety.mode", "off", "one of disabled, fuzzy, strict"),
    ("elasticsearch.node", "https://u:p@h:9200", "user and password belong in elasticsearch.auth"),
    ("elasticsearch.index", "Chat Logs", "a name of lowercase letters"),
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


def test_kinds_of_personal_data_are_those_of_the_redaction() -> None:
    """What may be written in logging.redact is what the chat log can take out."""
    assert values.REDACTIONS == PATTERNS
    assert values.redaction(r"/case-\d+/") == r"/case-\d+/"
    for wrong in ("mail", "/(/", "//", ""):
        assert "email, phone, card, iban, or" in mistake(f"logging: {{redact: ['{wrong}']}}")
