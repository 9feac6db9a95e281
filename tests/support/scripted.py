"""A model as a function, for what asks one: ``complete = Scripted("yes", ModelBusy("x"))``."""

import asyncio
from typing import Any


class Scripted:
    """A model that replies, fails or hangs (None) as written, one entry a call; the last repeats.

    ``calls`` holds what it was asked, ``cancelled`` counts the hanging calls that were given up.
    """

    def __init__(self, *entries: str | Exception | None) -> None:
        self.entries = entries
        self.calls: list[dict[str, Any]] = []
        self.asked = asyncio.Event()
        self.cancelled = 0

    async def __call__(
        self,
        messages: list[dict[str, str]],
        /,
        *,
        model: str,
        options: dict[str, Any] | None = None,
        format: dict[str, Any] | None = None,
        think: bool | None = None,
        request_id: str | None = None,
    ) -> str:
        self.calls.append(
            {"messages": messages, "model": model, "options": options, "think": think}
        )
        self.asked.set()
        entry = self.entries[min(len(self.calls), len(self.entries)) - 1]
        if entry is None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        if isinstance(entry, Exception):
            raise entry
        return entry or ""
