"""A browser, and a chat server for its pages."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext

from ..support.browser import PATIENCE, chromium
from ..support.chat_server import QUESTION, ChatServer, town


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    """Debian's Chromium."""
    async with chromium() as browser:
        yield browser


@pytest.fixture
async def chat(tmp_path: Path) -> AsyncIterator[ChatServer]:
    """A chat server with its scripted Ollama."""
    links = {"Imprint": "https://a.example/"}
    async with town(tmp_path, web__examples=[QUESTION], web__links=links) as there:
        there.ollama.reply = "It opens at **nine** [1]."
        yield there


@pytest.fixture
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    """A browser window that has seen nothing yet, and fails the test for an error of a script."""
    context = await browser.new_context(locale="en-GB")
    context.set_default_timeout(PATIENCE)
    errors: list[str] = []
    context.on("weberror", lambda error: errors.append(str(error.error)))
    yield context
    await context.close()
    assert errors == []
