"""``python -m benchmarks``: that it runs, counts right and prints goals; not what it measures."""

import itertools
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.figures import Goal, Samples, goals_text, line
from benchmarks.load import Result
from benchmarks.passages import pairs, questions

from ..support import postgres, redis

ROOT = Path(__file__).resolve().parent.parent.parent


def quick_run(parts: str) -> dict[str, Any]:
    """Return what a quick run of ``parts`` finds; nothing fails in it."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks", "--quick", "--json"),
            *("--only", parts, "--passages", "200", "200", "200"),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        timeout=300,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["errors"] == []
    return found


@pytest.mark.process
@pytest.mark.slow
def test_a_quick_run_loads_every_server_without_an_error() -> None:
    """All kinds of requests are answered in full, and each goal has a figure."""
    found = quick_run("requests,first,tokens")
    names = {goal["name"]: goal for goal in found["goals"]}
    assert "CPU of a JSON request, 20 passages, Chroma server" in names
    assert "first token one by one, server" in names
    assert "a token more, /v1" in names
    assert all(math.isfinite(goal["figure"]) for goal in found["goals"])
    servers = {"relay", "plain", "plain + Chroma", "server", "server + Chroma"}
    assert servers <= set(found["tables"][0]["rows"])


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.skipif(bool(redis.missing()), reason=f"needs {redis.missing()}")
@pytest.mark.skipif(bool(postgres.missing()), reason=f"needs {postgres.missing()}")
def test_replicas_and_what_they_share_are_counted_apart() -> None:
    """Every question is answered, by one replica and by three, and each part has a figure."""
    table = quick_run("replicas")["tables"][0]
    assert set(table["rows"]) == {"1 replica", "3 replicas"}
    assert all(len(row) == len(table["columns"]) for row in table["rows"].values())
    assert all(row[-1] > 0 for row in table["rows"].values())  # answers a second
    # A quick load of one alone may take less than the clock of processor time can show.
    assert sum(row[0] for row in table["rows"].values()) > 0


def test_passages_are_the_same_in_every_run_and_no_question_comes_twice() -> None:
    """A larger collection begins with a smaller one; questions differ from seed to seed."""
    assert list(itertools.islice(pairs(500), 20)) == list(pairs(20))
    one, other = (questions(300, 20, about=50, seed=seed) for seed in (1, 2))
    assert len(set(one)) == 300
    assert len(set(one) & set(other)) < 10
    assert one[0].endswith(" in 20 words?")


def test_figures_of_a_load() -> None:
    """Costs are those of what was answered, speed that of all loads."""
    samples = Samples()
    for waits in ([0.010, 0.030], [0.020, 0.040]):
        result = Result(answers=2, tokens=40, duration=2.0, first_token=waits)
        samples.add(cpu=0.1, memory=50.0, result=result)
    assert samples.request_ms == pytest.approx(50)
    assert samples.token_us == pytest.approx(2500)
    assert samples.tokens_a_second == pytest.approx(20)
    assert samples.first_token_ms() == pytest.approx(30)
    assert line({50: 10.0, 200: 40.0}) == pytest.approx((0.0, 0.2))


def test_a_goal_says_what_was_found_and_what_was_wanted() -> None:
    """Both figures stand in the line; errors never meet a goal."""
    goals = [
        Goal("speed", 36_000, 35_000, "tokens/s", least=True),
        Goal("cost", 3.1, 2.5, "ms", why="because"),
        Goal("cost", 2.1, 2.5, "ms", flaw="errors"),
    ]
    assert [goal.met for goal in goals] == [True, False, False]
    text = goals_text(goals)
    assert "36,000 tokens/s" in text
    assert "≤ 2.5 ms (because)" in text
    assert "**no**" in text
