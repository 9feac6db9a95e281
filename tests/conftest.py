"""Fixtures that every test file shares, the random seed, and a check of what is skipped."""

import os
import random
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# What a machine need not have. Everything else that a test asks for must be there in CI.
MAY_BE_MISSING = (
    "needs POSTGRES_URL",
    "needs OLLAMA_URL",
    "needs ELASTICSEARCH_URL",
    "needs mount",
)

SYSTEM = Path(__file__).with_name("system")
SEED = "ORBIT_TEST_SEED"

skipped: list[str] = []


def pytest_configure(config: pytest.Config) -> None:
    """Choose the seed of this run, unless the environment names one; xdist's workers inherit it."""
    os.environ.setdefault(SEED, str(random.SystemRandom().randrange(2**32)))
    # Shells let what they start in the background ignore Ctrl-C, and programs inherit that.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header(config: pytest.Config) -> str:
    """Say how to repeat the random choices of this run."""
    return f"random seed: {os.environ[SEED]} (repeat with {SEED}={os.environ[SEED]})"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in ``tests/system``, and let it run first: cores then end at the same time."""
    for item in items:
        if item.path.is_relative_to(SYSTEM):
            item.add_marker(pytest.mark.system)
    items.sort(key=lambda item: not item.path.is_relative_to(SYSTEM))


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """Run async tests on asyncio, the loop the server runs on.

    Each module has an event loop of its own, so that a test that is cancelled or breaks its loop
    takes no other module along.
    """
    return "asyncio"


@pytest.fixture(autouse=True)
def seeded(request: pytest.FixtureRequest) -> None:
    """Seed ``random`` for each test by the seed of the run and the test's name."""
    random.seed(f"{os.environ[SEED]} {request.node.nodeid}")


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that other users may enter, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Collect the reasons of skips that are not expected."""
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = str(report.longrepr[-1] if isinstance(report.longrepr, tuple) else report.longrepr)
        if not reason.removeprefix("Skipped: ").startswith(MAY_BE_MISSING):
            skipped.append(f"{report.nodeid}: {reason}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run in CI that skipped something it should have had."""
    if os.environ.get("CI") and skipped and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was skipped and should not have been."""
    for line in skipped:
        terminalreporter.write_line(f"skipped unexpectedly: {line}", red=True)
