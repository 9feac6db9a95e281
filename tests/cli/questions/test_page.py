"""The report as a page: nothing of it runs or is loaded, and everybody can read it."""

import re
from pathlib import Path

import pytest
from axe_playwright_python.async_playwright import Axe

from tests.support.browser import chromium, needs_chromium
from tests.support.program import command

from .conftest import line, write_log

pytestmark = [pytest.mark.anyio, pytest.mark.process]

NEAREST = {"id": "1", "source": "<img src=x onerror=alert(1)>", "score": 0.1, "relevance": 0.1}


async def written(town: Path) -> Path:
    """Return the page of the town, where strangers wrote HTML wherever they could."""
    write_log(town, [line("</table>$total ${x} <b onclick=alert(1)>", considered=[NEAREST])])
    page = town / "page.html"
    result = await command(town, "questions", "--collection", "town", "--html", page)
    assert (result.code, result.out) == (0, "")
    assert str(page) in result.err.replace("\n", "")
    return page


async def test_what_strangers_wrote_is_text(town: Path) -> None:
    """Questions, comments and names of sources are shown and never become part of the page."""
    text = (await written(town)).read_text()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "&lt;/table&gt;$total ${x} &lt;b onclick=alert(1)&gt;" in text
    assert "It &lt;b&gt;opens&lt;/b&gt; at ten." in text
    assert not re.search(r"<(script|img|link|iframe)\b|\bon\w+=['\"]|url\(|@import", text)
    assert "default-src 'none'" in text
    assert "\x1b" not in text


async def test_it_has_all(town: Path) -> None:
    """The counts, the gaps with their other wordings, ratings, and what is never used."""
    text = (await written(town)).read_text()
    for part in ("9 questions", "charge my car where", "1 in other words", "unused.txt"):
        assert part in text
    widths = [float(width) for width in re.findall(r"width:([\d.]+)%\"", text)]
    assert widths and max(widths) == 100


async def test_a_page_that_cannot_be_written(town: Path) -> None:
    """It is a sentence with the reason."""
    page = town / "nowhere" / "page.html"
    result = await command(town, "questions", "--collection", "town", "--html", page)
    assert (result.code, "No such file or directory" in result.sentence) == (1, True)


@needs_chromium
@pytest.mark.slow
@pytest.mark.parametrize("width", [1200, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_in_a_browser(town: Path, scheme: str, width: int) -> None:
    """Nothing is fetched, nothing is wider than the window, and axe finds nothing to mend."""
    page = await written(town)
    async with chromium() as browser:
        shown = await browser.new_page(
            viewport={"width": width, "height": 800},
            color_scheme=scheme,  # type: ignore[arg-type]
        )
        requests: list[str] = []
        problems: list[str] = []
        shown.on("request", lambda request: requests.append(request.url))
        shown.on("console", lambda message: problems.append(message.text))
        shown.on("dialog", lambda dialog: problems.append(dialog.message))
        await shown.goto(page.as_uri())
        assert (requests, problems) == ([page.as_uri()], [])
        assert await shown.evaluate("document.documentElement.scrollWidth <= innerWidth")
        await shown.locator("summary").first.click()
        assert await shown.get_by_text("charge my car where").is_visible()
        # axe is a script, which the page itself would refuse.
        await shown.set_content(re.sub(r"<meta http-equiv[^>]*>", "", page.read_text()))
        found = await Axe().run(shown)
        assert found.violations_count == 0, found.generate_report()
