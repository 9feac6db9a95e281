"""What of a page is its content."""

import pytest

from orbit_server.documents.site.content import main_content

MENU = (
    "<header><nav><ul><li><a href=/>Home</a></li><li><a href=/w>Waste</a></li></ul></nav></header>"
)
SHORT = "The pool opens in May. A ticket costs four euros, children pay two."


@pytest.mark.parametrize("around", ["<main><h1>Pool</h1>{}</main>", "<div><h1>Pool</h1>{}</div>"])
def test_a_short_page_is_without_its_menu(around: str) -> None:
    """With little to keep, trafilatura keeps all there is, and calls that content."""
    body = around.format(f"<p>{SHORT}</p>")
    page = main_content(
        f"<html><head><title>Pool</title></head><body>{MENU}{body}"
        "<footer>Imprint and contact</footer></body></html>"
    )
    assert [block.text for block in page.blocks] == [SHORT]


def test_a_short_page_is_kept_where_the_names_mislead() -> None:
    """A restaurant's dishes stand in what is called a menu."""
    dishes = "Dumplings with cabbage cost nine euros, trout with potatoes costs fourteen euros."
    page = main_content(
        "<html><body><div><p>Today</p><div class=menu><p>Kitchen closes at ten.</p>"
        f"<p>{dishes}</p></div></div></body></html>"
    )
    assert dishes in " ".join(block.text for block in page.blocks)
