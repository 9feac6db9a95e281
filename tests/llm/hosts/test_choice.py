"""Which host is asked: who has the model, who has it loaded, who has least to do, who knows it."""

from collections import Counter

from orbit_server.llm.hosts import Host
from orbit_server.llm.hosts.choice import candidates, ranked
from orbit_server.llm.ollama import Ollama

MODEL = "gemma3:4b"


def host(name: str, *, weight: float = 4, models: dict[str, str] | None = None) -> Host:
    made = Host(Ollama(f"http://{name}:11434"), weight=weight, places=4)
    made.models = {MODEL: "d1", "bge-m3:latest": "e1"} if models is None else models
    made.loaded = {MODEL}
    return made


def best(hosts: list[Host], conversation: str | None = None) -> str:
    return ranked(hosts, MODEL, conversation)[0].name.partition(":")[0]


def test_only_hosts_with_the_model_are_candidates() -> None:
    """With the digest, where one is asked for; a name without a tag is the latest."""
    a, b, c = host("a"), host("b", models={"bge-m3:latest": "e2"}), host("c", models={})
    assert candidates([a, b, c], MODEL) == [a]
    assert candidates([a, b, c], "bge-m3") == [a, b]
    assert candidates([a, b, c], "bge-m3", "e2") == [b]
    assert candidates([a, b, c], "bge-m3", "e3") == []


def test_who_is_out_is_a_last_resort() -> None:
    """While a healthy host has the model, the others are left alone."""
    a, b = host("a"), host("b")
    a.circuit.failed(silent=True)
    assert candidates([a, b], MODEL) == [b]
    assert candidates([a, b], MODEL, tried=[b]) == [a]
    b.circuit.failed(silent=True)
    assert candidates([a, b], MODEL) == [a, b]
    assert candidates([a, b], MODEL, tried=[a]) == [b]


def test_before_anything_is_known_everybody_may_have_it() -> None:
    """Who has said nothing is asked only as long as nobody has said that it has the model."""
    a, b = host("a"), host("b")
    a.models = b.models = None
    assert candidates([a, b], MODEL) == [a, b]
    a.models = {}
    assert candidates([a, b], MODEL) == [b]
    a.models = {MODEL: ""}
    assert candidates([a, b], MODEL) == [a]


def test_loaded_goes_before_idle_until_it_is_busy() -> None:
    """Loading takes longer than a turn beside others, but a full host is no bargain."""
    a, b = host("a"), host("b")
    b.loaded.clear()
    a.running = 3
    assert best([a, b]) == "a"
    a.running = 4
    assert best([a, b]) == "b"


def test_least_work_by_weight() -> None:
    """A host with twice the weight gets two calls while the other gets one."""
    small, large = host("small", weight=2), host("large", weight=4)
    served: Counter[str] = Counter()
    for _ in range(6):
        first = ranked([small, large], MODEL)[0]
        first.running += 1
        served[first.name] += 1
    assert served == {"small:11434": 2, "large:11434": 4}


def test_who_has_failed_a_moment_ago_comes_last() -> None:
    """Even where it is idle: that it is idle may be the reason why it fails."""
    a, b = host("a"), host("b")
    b.running = 3
    a.circuit.failed()
    assert best([a, b]) == "b"


def test_a_conversation_stays_at_its_host() -> None:
    """As long as that is not much busier; and when another host goes, it does not move."""
    hosts = [host(name) for name in "abcde"]
    homes = {str(n): best(hosts, str(n)) for n in range(500)}
    spread = Counter(homes.values())
    assert set(spread) == set("abcde")
    assert min(spread.values()) > 60
    assert {str(n): best(hosts, str(n)) for n in range(500)} == homes
    left = [each for each in hosts if not each.name.startswith("c")]
    moved = [n for n, home in homes.items() if best(left, n) != home]
    assert {homes[n] for n in moved} == {"c"}
    home = next(each for each in hosts if each.name.startswith(homes["1"]))
    home.running = 1  # within a quarter of its weight
    assert best(hosts, "1") == homes["1"]
    home.running = 2
    assert best(hosts, "1") != homes["1"]


def test_short_calls_of_no_conversation_are_spread() -> None:
    """Idle hosts take turns by chance."""
    hosts = [host("a"), host("b")]
    assert {best(hosts) for _ in range(50)} == {"a", "b"}


def test_one_place_leaves_no_tolerance() -> None:
    """Where a host takes one answer at once, a conversation does not wait at a busy one."""
    hosts = [host("a", weight=1), host("b", weight=1)]
    home = best(hosts, "x")
    next(each for each in hosts if each.name.startswith(home)).running = 1
    assert best(hosts, "x") != home
