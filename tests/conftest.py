"""Fixtures that every test file shares, and an eye on what is skipped."""

import os
import shutil
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

skipped: list[str] = []


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run async tests on asyncio, the loop the server runs on."""
    return "asyncio"


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
