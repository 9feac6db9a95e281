"""``create_app`` in somebody else's program: what it takes, what it reads, what its errors name."""

import logging
import subprocess
import sys
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from pydantic import SecretStr

from orbit_server import create_app
from orbit_server.config import Config, load
from orbit_server.errors import ConfigError

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def folder_of_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in the folder of a program that has a config.yaml and a .env of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ORBIT_CONFIG", raising=False)
    monkeypatch.delenv("ADMIN_TOKEN", raising=False)
    Path("config.yaml").write_text("broker: {workers: 3}\ngeneral: 5\n")
    Path(".env").write_bytes(b"ADMIN_TOKEN=the-token-of-the-host\nNAME=\xff\n")


def configured(*given: Any) -> Config:
    """Return what an application made of ``given`` works with."""
    app = create_app(*given)
    config = app.state.services.config
    assert isinstance(config, Config)
    return config


def refused(*given: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        create_app(*given)
    return str(caught.value)


def test_without_an_argument_nothing_of_the_host_is_read() -> None:
    """Neither its config.yaml nor its .env, however they are written."""
    assert configured() == Config()


def test_without_an_argument_the_variable_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file of ORBIT_CONFIG is read, and the .env beside it."""
    (tmp_path / "orbit").mkdir()
    (tmp_path / "orbit/orbit.yaml").write_text("ollama: {model: '${MODEL}'}")
    (tmp_path / "orbit/.env").write_text("MODEL=qwen3:4b\nADMIN_TOKEN=0123456789abcdef\n")
    monkeypatch.setenv("ORBIT_CONFIG", "orbit/orbit.yaml")
    config = configured()
    assert config.ollama.model == "qwen3:4b"
    assert config.admin_token == SecretStr("0123456789abcdef")


def test_a_path(tmp_path: Path) -> None:
    """As text or as a Path; a folder without a .env leaves that of the host alone."""
    (tmp_path / "orbit").mkdir()
    (tmp_path / "orbit/orbit.yaml").write_text("general: {port: 3005}")
    for path in ("orbit/orbit.yaml", Path("orbit/orbit.yaml"), tmp_path / "orbit/orbit.yaml"):
        assert configured(path).general.port == 3005


def test_sections_as_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With values of Python's kinds, paths and secrets among them, and with variables."""
    monkeypatch.setenv("TOKEN", "hidden")
    config = configured(
        {
            "general": {"port": "3005", "trusted_proxies": ["10.0.0.0/8"], "https": None},
            "chroma": {"path": tmp_path / "chroma", "headers": {"x-chroma-token": "${TOKEN}"}},
            "elasticsearch": {"auth": {"password": SecretStr("hidden too")}},
            "web": {"cors_origins": ("https://example.org",)},
            "answer": MappingProxyType({"provider": "extractive", "condense": False}),
        }
    )
    assert (config.general.port, config.chroma.path) == (3005, str(tmp_path / "chroma"))
    assert config.chroma.headers == {"x-chroma-token": SecretStr("hidden")}
    assert config.elasticsearch.auth.password == SecretStr("hidden too")
    assert config.web.cors_origins == ("https://example.org",)
    assert (config.answer.provider, config.answer.condense) == ("extractive", False)
    assert configured({}) == Config()


def test_a_config() -> None:
    """It is taken as it is."""
    config = load({"general": {"port": 3005}}, environ={"ADMIN_TOKEN": "0123456789abcdef"})
    assert configured(config) is config


def test_errors_name_the_server_and_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a log of many libraries it is plain whose configuration is meant, and where it stands."""
    Path("orbit.yaml").write_text("general:\n  port: 0\n")
    Path(".env").unlink()
    heading = "the configuration of ORBIT server (orbit.yaml) cannot be used:\n"
    mistake = "orbit.yaml:2: general.port: 0 is not allowed; it must be a whole number"
    assert refused("orbit.yaml").startswith(heading + mistake)
    monkeypatch.setenv("ORBIT_CONFIG", "orbit.yaml")
    assert refused().startswith(heading + mistake)
    monkeypatch.setenv("ORBIT_CONFIG", "absent.yaml")
    assert "ORBIT server (absent.yaml)" in refused() and "cannot be read" in refused()
    assert "cannot be read" in refused("")


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"general": {"prot": 1}}, "general.prot: unknown key; did you mean general.port?"),
        ({"general": 1}, "general: must be a section"),
        ({1: 2}, "1: unknown key"),
        ({"general": {"port": [1]}}, "general.port: [1] is not allowed"),
        ({"general": {"host": "${NOWHERE}"}}, "the variable NOWHERE is set neither"),
        ({"ADMIN_TOKEN": "x"}, "belongs in the variable ADMIN_TOKEN"),
        ({"ollama": {"model": object}}, "ollama.model: "),
    ],
)
def test_errors_in_sections(sections: dict[Any, Any], said: str) -> None:
    """They are those of a file, without a line."""
    message = refused(sections)
    assert "ORBIT server (the mapping given to create_app)" in message
    assert "the given mapping: " in message and said in message


def test_sections_that_contain_themselves() -> None:
    """A mapping can; a file cannot."""
    sections: dict[str, Any] = {}
    sections["general"] = sections
    assert "nested too deeply" in refused(sections)


def test_what_is_found_later_is_named_too() -> None:
    """Files that parts read themselves, and settings that do not fit together."""
    Path("list.txt").write_text("/(/\n")
    message = refused({"safety": {"mode": "strict", "blocklist": "list.txt"}})
    assert message.startswith("the configuration of ORBIT server (the mapping") and "(/" in message
    config = load({"reranker": {"enabled": True, "model": "bge-reranker-v2-m3"}}, environ={})
    assert "ORBIT server (the Config given to create_app)" in refused(config)


def test_warnings_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The host's log gets what the program prints when it starts."""
    with caplog.at_level(logging.WARNING):
        configured({"chroma": {"relevance_threshold": 0.7}})
    assert "chroma.relevance_threshold used as written" in caplog.text


FORMS = """
import os
from pathlib import Path

from orbit_server import create_app
from orbit_server.config import Config, load
from starlette.applications import Starlette

app: Starlette = create_app()
create_app("orbit.yaml")
create_app(Path("/etc/orbit/config.yaml"))
create_app({"general": {"port": 3000}, "answer": {"provider": "extractive"}})
sections: dict[str, dict[str, object]] = {"chroma": {"path": Path("data")}}
create_app(sections)
create_app(Config())
create_app(config=load("orbit.yaml", environ=os.environ))
create_app(5)  # type: ignore[arg-type]
"""


def test_type_checkers_accept_the_documented_forms(tmp_path: Path) -> None:
    """mypy, strict as for this project and with its cache, and it refuses what is none of them."""
    (tmp_path / "host.py").write_text(FORMS)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", tmp_path / "host.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
