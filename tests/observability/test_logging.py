"""The server's own log: what a line on the console may hold."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from orbit_server.observability import logging as logs

from ..support.server import lexical


@pytest.fixture
def kept() -> Iterator[None]:
    """Give the root logger back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers, root.level = handlers, level


@pytest.mark.usefixtures("kept")
def test_a_message_is_one_line_on_the_console(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it quotes can neither begin a line nor steer a terminal; a traceback keeps its lines."""
    logs.configure(lexical(tmp_path, logging__console__format="text"))
    logger = logging.getLogger("orbit_server.test")
    logger.error("name %s: Grüße", "a\n12:00:00 INFO forged\r\x1b[31m\x9b\u2028\x7f\0")
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        logger.exception("it\nfailed")
    said = capsys.readouterr().err
    lines = said.splitlines()
    assert r"name a\n12:00:00 INFO forged\r\x1b[31m\x9b\u2028\x7f\x00: Grüße" in lines[0]
    assert r"it\nfailed" in lines[1]
    assert lines[2].startswith("Traceback") and lines[-1] == "RuntimeError: broken"
