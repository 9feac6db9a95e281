"""What the chat page says when many are asking, in a real browser."""

import asyncio
from pathlib import Path

import pytest
from playwright.async_api import BrowserContext, Page, expect

from ..support.browser import needs_chromium
from ..support.chat_page import answer, ask, opened
from ..support.chat_server import QUESTION, ChatServer, Socket, town
from ..support.ollama_standin import BUSY, Hang

pytestmark = [pytest.mark.anyio, pytest.mark.process, needs_chromium]


async def refused(page: Page, status: int, code: str, seconds: str) -> None:
    """Let the next question be refused."""
    headers = {"Retry-After": seconds} if seconds else {}
    body = {"detail": "-", "code": code}

    await page.route(
        "**/chat", lambda route: route.fulfill(status=status, json=body, headers=headers), times=1
    )
    await ask(page)


async def test_when_to_try_again(context: BrowserContext, chat: ChatServer) -> None:
    """In the words of the reader, from the seconds of the server; the question is not lost."""
    page = await opened(context, chat)
    alert = page.get_by_role("alert")
    cases = {
        (429, "too_many_requests", "12"): "Too many questions. You can try again in 12 seconds.",
        (429, "too_many_requests", "1"): "Too many questions. You can try again in 1 second.",
        (429, "too_many_requests", "601"): "Too many questions. You can try again in 11 minutes.",
        (429, "too_many_requests", "50000"): "Too many questions. You can try again in 14 hours.",
        (429, "too_many_requests", ""): "Too many questions. Please try again in a moment.",
        (503, "model_busy", "5"): "Many people are asking right now."
        " You can try again in 5 seconds.",
        (503, "model_busy", ""): "Many people are asking right now. Please try again in a moment.",
    }
    for (status, code, seconds), sentence in cases.items():
        await refused(page, status, code, seconds)
        await expect(alert).to_contain_text(sentence)
        again = alert.get_by_role("button", name="Try again")
        await expect(again).to_be_disabled() if seconds else await expect(again).to_be_enabled()
        await expect(page.get_by_label("Your question")).to_have_value(QUESTION)
        await expect(page.locator(".turn")).to_have_count(0)


async def test_in_german(context: BrowserContext, tmp_path: Path) -> None:
    """The time too."""
    async with town(tmp_path, web__language="de") as chat:
        chat.ollama.fault = BUSY
        page = await opened(context, chat)
        await page.get_by_label("Ihre Frage").fill(QUESTION)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).to_contain_text(
            "Gerade fragen sehr viele. In 5 Sekunden können Sie es noch einmal versuchen."
        )


async def test_the_wait_becomes_too_long(context: BrowserContext, tmp_path: Path) -> None:
    """Behind the head it is an event, and the page says the same; asking again works."""
    async with town(
        tmp_path, ollama__concurrency=1, ollama__queue_timeout=1, chat__head_timeout=0.1
    ) as chat:
        chat.ollama.fault = [Hang(after=1)]
        other = await Socket.asking(chat)
        await other.read_until(b"data: ")
        page = await opened(context, chat)
        await ask(page)
        alert = page.get_by_role("alert")
        await expect(alert).to_contain_text("Many people are asking right now. You can try again")
        await expect(page.locator(".turn")).to_have_count(0)
        other.leave()
        await chat.settled()
        await page.get_by_role("button", name="Try again").click()
        await expect(answer(page)).to_contain_text("nine")


async def test_a_long_wait_is_explained(context: BrowserContext, chat: ChatServer) -> None:
    """After ten seconds without a word; the answer replaces it."""
    page = await opened(context, chat)
    await page.clock.install()
    asked, go_on = asyncio.Event(), asyncio.Event()

    def reply(body: object) -> list[str]:
        return ["At nine."]

    async def hold(route: object) -> None:
        asked.set()
        await go_on.wait()
        await route.continue_()  # type: ignore[attr-defined]

    chat.ollama.reply = reply
    await page.route("**/chat", hold)
    await ask(page)
    await asked.wait()
    await page.clock.fast_forward(11_000)
    await expect(answer(page)).to_contain_text("Still waiting: many people are asking")
    await expect(page.locator("[aria-live=polite]")).to_contain_text("Still waiting")
    go_on.set()
    await expect(answer(page)).to_have_text("At nine.")
