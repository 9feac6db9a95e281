"""The widget on a page of another origin, in a real browser."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import BrowserContext, Page, expect
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from ..support.browser import needs_chromium
from ..support.chat_server import QUESTION, ChatServer, town
from ..support.server import serving

pytestmark = [pytest.mark.anyio, pytest.mark.process, needs_chromium]

EXAMPLE = Path(__file__).parents[2] / "docs" / "site" / "index.html"


@asynccontextmanager
async def site(chat: ChatServer, markup: str, *, policy: str = "") -> AsyncIterator[str]:
    """Serve a page of somebody else, with a strict policy that allows the chat server."""
    origin = chat.server.url
    policy = policy or (
        f"default-src 'none'; script-src {origin}; connect-src {origin}; style-src 'self'"
    )

    async def page(request: Request) -> HTMLResponse:
        html = f"<!doctype html><html lang=en><title>Town</title><main>{markup}</main></html>"
        return HTMLResponse(html, headers={"Content-Security-Policy": policy})

    async with serving(Starlette(routes=[Route("/", page)])) as url:
        yield url


def script(chat: ChatServer, **data: str) -> str:
    """Return the line that a site owner pastes."""
    data = {"key": chat.headers["X-API-Key"], **data}
    attributes = " ".join(f'data-{name}="{value}"' for name, value in data.items())
    return (
        f'<h1>Our town</h1><script src="{chat.server.url}/widget.js" {attributes} async></script>'
    )


async def ask(page: Page, which: int = 0) -> None:
    """Ask in a widget that is open."""
    await page.get_by_label("Your question").nth(which).fill(QUESTION)
    await page.get_by_role("button", name="Send").nth(which).click()


async def test_one_line_on_a_page_with_a_strict_policy(
    context: BrowserContext, chat: ChatServer
) -> None:
    """It opens and closes by keyboard, gives the focus back, answers, and leaves the page alone."""
    async with site(chat, script(chat, title="Ask the town", color="#006b3c")) as url:
        page = await context.new_page()
        violations: list[str] = []
        page.on("console", lambda message: violations.append(message.text))
        await page.goto(url)
        opener = page.get_by_role("button", name="Ask the town")
        await expect(opener).to_have_attribute("aria-expanded", "false")
        await opener.focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_label("Your question")).to_be_focused()
        assert await opener.get_attribute("aria-expanded") == "true"
        await page.keyboard.type(QUESTION)
        await page.keyboard.press("Enter")
        await expect(page.locator(".turn.assistant .words")).to_have_text("It opens at nine [1].")
        found = await Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("dialog")).to_be_hidden()
        await expect(opener).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.locator(".turn.assistant")).to_have_count(1)
        names = "Object.keys(window).filter(name => /orbit|chat|settings/i.test(name))"
        assert await page.evaluate(names) == []
        assert await page.evaluate("document.querySelectorAll('style, link').length") == 0
        assert await page.evaluate("sessionStorage.length + localStorage.length") == 0
        assert violations == []
        color = "it => getComputedStyle(it).backgroundColor"
        assert await opener.evaluate(color) == "rgb(0, 107, 60)"


async def test_twice_on_one_page_and_taken_away(context: BrowserContext, chat: ChatServer) -> None:
    """Two scripts make two widgets that know nothing of each other; one can be removed."""
    both = script(chat, title="First") + script(chat, title="Second", position="left")
    async with site(chat, both) as url:
        page = await context.new_page()
        await page.goto(url)
        await page.get_by_role("button", name="First").click()
        await page.get_by_role("button", name="Second").click()
        await ask(page)
        await expect(page.locator(".turn.assistant")).to_have_count(1)
        await page.evaluate("document.querySelector('orbit-chat').remove()")
        await expect(page.locator("orbit-chat")).to_have_count(1)


async def test_inline_element(context: BrowserContext, chat: ChatServer) -> None:
    """``<orbit-chat inline>`` is a chat where it stands, without taking the focus."""
    key = chat.headers["X-API-Key"]
    markup = (
        f'<orbit-chat inline data-key="{key}" data-greeting="Hello!" data-language="de">'
        f'</orbit-chat><script src="{chat.server.url}/widget.js" async></script>'
    )
    async with site(chat, markup) as url:
        page = await context.new_page()
        await page.goto(url)
        await expect(page.get_by_text("Hello!")).to_be_visible()
        await expect(page.get_by_role("button", name="Schlüssel ändern")).to_be_hidden()
        assert await page.evaluate("document.activeElement.tagName") == "BODY"
        await page.get_by_label("Ihre Frage").fill(QUESTION)
        await page.get_by_role("button", name="Senden").click()
        await expect(page.locator(".turn.assistant")).to_contain_text("nine")


async def test_without_a_key_it_touches_nothing_of_the_site(
    context: BrowserContext, chat: ChatServer
) -> None:
    """A visitor's key lives as long as the page, and the site's own address stays as it is."""
    markup = (
        f'<orbit-chat inline></orbit-chat><script src="{chat.server.url}/widget.js" async></script>'
    )
    async with site(chat, markup) as url:
        page = await context.new_page()
        await page.goto(f"{url}/#key=of-the-site")
        await page.get_by_label("API key").fill(chat.headers["X-API-Key"])
        await page.get_by_role("button", name="Open").click()
        await ask(page)
        await expect(page.locator(".turn.assistant")).to_contain_text("nine")
        assert page.url == f"{url}/#key=of-the-site"
        assert await page.evaluate("sessionStorage.length + localStorage.length") == 0


async def test_styles_of_the_site_do_not_reach_it(
    context: BrowserContext, chat: ChatServer
) -> None:
    """A site that styles every button, and inherits odd fonts, changes nothing inside."""
    wild = "<style>* { color: red; font: 40px serif; } button { display: none !important }</style>"
    policy = f"default-src {chat.server.url} 'unsafe-inline'"
    async with site(chat, wild + script(chat, title="Ask"), policy=policy) as url:
        page = await context.new_page()
        await page.goto(url)
        await page.get_by_role("button", name="Ask").click()
        send = page.get_by_role("button", name="Send")
        assert await send.evaluate("it => getComputedStyle(it).fontSize") == "16px"


async def test_a_wrong_key_is_the_site_owners_affair(
    context: BrowserContext, chat: ChatServer
) -> None:
    """A visitor is not asked for a key, and told that it does not work now."""
    async with site(chat, script(chat, key="api_wrong", title="Ask")) as url:
        page = await context.new_page()
        await page.goto(url)
        await page.get_by_role("button", name="Ask").click()
        await ask(page)
        await expect(page.get_by_role("alert")).to_contain_text("cannot answer at the moment")
        await expect(page.get_by_label("API key")).to_be_hidden()


async def test_size(chat: ChatServer) -> None:
    """Loader, code and style together take at most 25 KB on the wire."""
    async with aiohttp.ClientSession(chat.server.url, auto_decompress=False) as http:
        async with http.get("/") as response:
            page = await response.text()
        total = 0
        names = [part for part in page.split('"') if part.startswith("/web/chat-")]
        assert len(names) == 2
        for name in ("/widget.js", *names):
            async with http.get(name, headers={"Accept-Encoding": "gzip"}) as response:
                total += len(await response.read())
    assert total <= 25_000


async def test_the_example_site(context: BrowserContext, chat: ChatServer, tmp_path: Path) -> None:
    """``docs/site`` works as it is, but for address and key."""
    html = EXAMPLE.read_text()
    assert "http://localhost:3000" in html
    html = html.replace("http://localhost:3000", chat.server.url)
    html = html.replace("api_…", chat.headers["X-API-Key"])

    async def page_of_site(request: Request) -> Any:
        return HTMLResponse(html)

    async with serving(Starlette(routes=[Route("/", page_of_site)])) as url:
        page = await context.new_page()
        await page.goto(url)
        await page.get_by_role("button", name="Ask the town").click()
        await ask(page)
        await expect(page.locator(".turn.assistant")).to_contain_text("nine")
        await page.screenshot(path=str(tmp_path / "site.png"))


async def test_a_key_for_a_site_is_all_that_a_site_needs(
    context: BrowserContext, tmp_path: Path
) -> None:
    """No line in the configuration; on another site the same key gets no answer."""
    async with town(tmp_path, web__cors_origins=["https://other.example"]) as chat:
        chat.ollama.reply = "It opens at **nine** [1]."
        secret = "none yet"
        answers = []
        for own in (True, False):
            async with site(chat, "<h1>Our town</h1>") as url:
                if own:
                    _, secret = await chat.server.services.keys.create(
                        "town", "site", origins=[url]
                    )
                    chat.server.services.keys.forget()
                page = await context.new_page()
                await page.goto(url)
                asked = await page.evaluate(
                    """([url, key, message]) => fetch(url + "/chat", {
                        method: "POST",
                        headers: {"Content-Type": "application/json", "X-API-Key": key},
                        body: JSON.stringify({message, stream: false}),
                    }).then((reply) => reply.status, () => "unreadable")""",
                    [chat.server.url, secret, QUESTION],
                )
                answers.append(asked)
                if own:
                    await page.evaluate(
                        """([src, key]) => {
                            const script = document.createElement("script");
                            Object.assign(script, {src, async: true});
                            script.dataset.key = key;
                            document.body.append(script);
                        }""",
                        [f"{chat.server.url}/widget.js", secret],
                    )
                    await page.get_by_role("button", name="ORBIT server").click()
                    await ask(page)
                    words = page.locator(".turn.assistant .words")
                    await expect(words).to_have_text("It opens at nine [1].")
                await page.close()
        assert answers == [200, "unreadable"]
