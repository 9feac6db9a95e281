"""What an error says: the nearest key, and never a secret."""

import pytest

from orbit_server.config.sentences import printable, shown

from ..support.configuration import mistake, mistakes


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
        ("web: {zzzzzz: 1}", "unknown key; known here: cors_origins, page, page_key, title"),
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


def test_values_and_names_are_shown_in_one_short_line() -> None:
    """However long they are, and whatever is in them."""
    assert shown(None) == "nothing (null)"
    assert shown({"a": 1}) == "a mapping"
    assert shown("x" * 100) == "'" + "x" * 55 + "…'"
    assert shown("http://u:p@h/?k=v") == "'http://***@h/?***"
    assert printable("a.yaml") == "a.yaml"
    assert printable("a\nb") == "'a\\nb'" and printable("") == "''"
    assert len(printable("x" * 300)) == 200
