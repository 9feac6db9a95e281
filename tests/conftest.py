"""Fixtures that every test file shares."""

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run async tests on asyncio, the loop the server runs on."""
    return "asyncio"
