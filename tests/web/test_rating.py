"""The buttons below an answer, and what comes of them, in a real browser."""

from typing import Any

import pytest
from playwright.async_api import BrowserContext, Page, expect

from ..support.browser import needs_chromium
from ..support.chat_page import answer, ask, opened
from ..support.chat_server import ChatServer
from .test_widget import ask as ask_widget
from .test_widget import script, site

pytestmark = [pytest.mark.anyio, pytest.mark.process, needs_chromium]


def ratings(chat: ChatServer) -> list[tuple[int, str | None]]:
    """What the chat log holds of ratings, oldest first; all of them of the last answer."""
    records = [record for record in chat.server.records() if record["kind"] == "feedback"]
    assert {record["answer_id"] for record in records} <= {chat.exchange()["answer_id"]}
    return [(record["rating"], record["comment"]) for record in records]


def thumb(page: Page, name: str) -> Any:
    return page.get_by_role("button", name=name)


async def answered(context: BrowserContext, chat: ChatServer) -> Page:
    """A page with one answer."""
    page = await opened(context, chat)
    await ask(page)
    await expect(answer(page)).to_contain_text("nine")
    return page


async def test_good(context: BrowserContext, chat: ChatServer) -> None:
    """One click is a rating, said and shown; a second one on the same button is none."""
    page = await answered(context, chat)
    good, bad = thumb(page, "Good answer"), thumb(page, "Bad answer")
    await expect(good).to_have_attribute("aria-pressed", "false")
    async with page.expect_response("**/feedback") as sent:
        await good.click()
    assert (await sent.value).status == 200
    await expect(good).to_have_attribute("aria-pressed", "true")
    await expect(bad).to_have_attribute("aria-pressed", "false")
    await expect(page.locator("[aria-live=polite]")).to_have_text("Thank you.")
    await good.click()
    assert ratings(chat) == [(1, None)]
    await page.reload()
    await expect(good).to_have_attribute("aria-pressed", "true")


async def test_bad_with_a_comment_by_keyboard(context: BrowserContext, chat: ChatServer) -> None:
    """The field for a comment opens with the focus in it, and gives it back."""
    page = await answered(context, chat)
    await thumb(page, "Good answer").click()
    await expect(thumb(page, "Good answer")).to_have_attribute("aria-pressed", "true")
    await page.keyboard.press("Tab")
    await expect(thumb(page, "Bad answer")).to_be_focused()
    await page.keyboard.press("Space")
    await expect(page.get_by_label("What was wrong? (optional)")).to_be_focused()
    await expect(thumb(page, "Good answer")).to_have_attribute("aria-pressed", "false")
    await page.keyboard.type("It closes at one.")
    await page.keyboard.press("Tab")
    async with page.expect_response(
        lambda got: got.url.endswith("/feedback") and "closes" in (got.request.post_data or "")
    ) as sent:
        await page.keyboard.press("Enter")
    assert (await sent.value).status == 200
    await expect(thumb(page, "Bad answer")).to_be_focused()
    await expect(page.get_by_label("What was wrong?")).to_be_hidden()
    assert ratings(chat) == [(1, None), (-1, None), (-1, "It closes at one.")]


async def test_no_comment_is_a_rating_too(context: BrowserContext, chat: ChatServer) -> None:
    """An empty field sends nothing more; the button opens and closes it."""
    page = await answered(context, chat)
    bad, field = thumb(page, "Bad answer"), page.get_by_label("What was wrong?")
    async with page.expect_response("**/feedback"):
        await bad.click()
    await page.get_by_role("button", name="Submit comment").click()
    await expect(field).to_be_hidden()
    await bad.click()
    await expect(field).to_be_visible()
    await bad.click()
    await expect(field).to_be_hidden()
    assert ratings(chat) == [(-1, None)]


async def test_a_rating_that_is_not_taken(context: BrowserContext, chat: ChatServer) -> None:
    """The button does not stay pressed, and a sentence says why."""
    page = await answered(context, chat)
    await page.route("**/feedback", lambda route: route.abort())
    await thumb(page, "Good answer").click()
    await expect(page.get_by_role("alert")).to_have_text("Your rating could not be sent.")
    await expect(thumb(page, "Good answer")).to_have_attribute("aria-pressed", "false")


async def test_in_the_widget(context: BrowserContext, chat: ChatServer) -> None:
    """From another origin, under its policy."""
    async with site(chat, script(chat, title="Ask")) as url:
        page = await context.new_page()
        await page.goto(url)
        await page.get_by_role("button", name="Ask", exact=True).click()
        await ask_widget(page)
        async with page.expect_response("**/feedback") as sent:
            await thumb(page, "Good answer").click()
        assert (await sent.value).status == 200
        await expect(thumb(page, "Good answer")).to_have_attribute("aria-pressed", "true")
        assert ratings(chat) == [(1, None)]
