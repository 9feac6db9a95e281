"""``load``: where the configuration comes from, and what it warns of."""

import os
from pathlib import Path

import pytest

from orbit_server.config import Config, load
from orbit_server.errors import ConfigError

from ..support.configuration import mistake, read


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
