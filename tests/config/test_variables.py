"""``.env``, the environment, and ``${NAME}`` in a value."""

import ipaddress
import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from orbit_server.config import Config, load
from orbit_server.errors import ConfigError

from ..support.configuration import mistake, mistakes, read


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
