"""Debian's Chromium, driven by Playwright."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Browser, async_playwright, expect

CHROMIUM = Path("/usr/bin/chromium")
PATIENCE = 30_000  # milliseconds
_QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

expect.set_options(timeout=PATIENCE)

needs_chromium = pytest.mark.skipif(
    not CHROMIUM.exists(), reason="needs chromium (Debian: apt install chromium)"
)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Run a headless Chromium until the block ends."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=str(CHROMIUM), args=_QUIET)
        yield browser
        await browser.close()
