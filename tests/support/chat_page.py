"""The chat page as a reader uses it."""

from typing import Any

from playwright.async_api import BrowserContext, Page

from .chat_server import QUESTION, ChatServer


async def opened(context: BrowserContext, chat: ChatServer, path: str = "/") -> Page:
    """Open the page with the key behind the hash, as the demo's link does."""
    page = await context.new_page()
    await page.goto(f"{chat.server.url}{path}#key={chat.headers['X-API-Key']}")
    return page


async def ask(page: Page, question: str = QUESTION) -> None:
    """Type a question and send it."""
    await page.get_by_label("Your question").fill(question)
    await page.get_by_role("button", name="Send").click()


def answer(page: Page, which: int = -1) -> Any:
    """The words of one answer."""
    return page.locator(".turn.assistant .words").nth(which)
