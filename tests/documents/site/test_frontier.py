"""What waits to be visited: every address once, within bounds, in the order of its finding."""

from orbit_server.documents.site.frontier import Bounds, Entry, Frontier


def test_an_address_comes_out_once_and_in_its_turn() -> None:
    """Whoever finds it again is told that it is not new; only what is wanted again comes again."""
    frontier = Frontier(Bounds())
    assert [frontier.add(Entry(f"http://a.example/{each}")) for each in "xyx"] == [
        True,
        True,
        False,
    ]
    assert len(frontier) == 2
    assert [frontier.take(), frontier.take(), frontier.take()] == [
        Entry("http://a.example/x"),
        Entry("http://a.example/y"),
        None,
    ]
    frontier.add_again(Entry("http://a.example/x", canonical=False))
    assert frontier.take() == Entry("http://a.example/x", canonical=False)
    assert (frontier.visited, len(frontier), frontier.bounds_hit) == (3, 0, [])


def test_links_into_a_trap_are_left_and_named() -> None:
    """Too deep, or one of many alike; what a site itself lists is believed."""
    frontier = Frontier(Bounds(depth=2, queries=1))
    assert not frontier.add(Entry("http://a.example/deep", 3), linked=True)
    assert frontier.add(Entry("http://a.example/days?n=1"), linked=True)
    assert not frontier.add(Entry("http://a.example/days?n=2"), linked=True)
    assert frontier.add(Entry("http://a.example/days?n=3"))
    assert set(frontier.left) == {"http://a.example/deep", "http://a.example/days?n=2"}


def test_a_bound_is_said_once_and_holds() -> None:
    """Also where those that are still on their way bring more."""
    frontier = Frontier(Bounds(pages=1))
    for each in "xyz":
        frontier.add(Entry(f"http://a.example/{each}"))
        frontier.take()
    assert frontier.bounds_hit == ["1 addresses were visited, and there are more."]
    late = Frontier(Bounds(seconds=-60.0))
    late.add(Entry("http://a.example/"))
    assert late.take() is None
    assert late.bounds_hit == ["it took -1 minutes, and there is more."]
