"""Deliver documents to Elasticsearch: try until each is stored or rejected for its content."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from .checkpoint import Line
from .elasticsearch import ElasticsearchClient, Failure, TooLarge, sentence
from .rejected import Rejected

# Refusals with status 400 that say nothing about the document.
_NOT_THE_DOCUMENT = {
    "index_closed_exception",
    "invalid_index_name_exception",
    "validation_exception",
}


class Delivery:
    """Send bulk requests through ``client``, with growing pauses while it fails.

    ``prepare`` installs the index template; it runs before the first document, after a lasting
    failure, and every ``prepare_seconds``, since anybody may remove a template. ``on_contact`` is
    called with ``(available, cause)`` after each contact or failed attempt. Elasticsearch counts as
    unavailable as well when it rejects ``rejected_in_a_row`` documents and stores none: then it is
    not the documents. ``pauses`` are the first and the longest wait in seconds between two tries;
    after ``tries`` failures in a row, or once ``stopping`` is set, the failure is raised.
    """

    def __init__(
        self,
        client: ElasticsearchClient,
        *,
        prepare: Callable[[], Awaitable[None]],
        on_contact: Callable[[bool, str], Awaitable[None]],
        stopping: asyncio.Event,
        pauses: tuple[float, float],
        tries: float = float("inf"),
        prepare_seconds: float = 300.0,
        rejected_in_a_row: int = 3,
    ) -> None:
        self._client = client
        self._prepare = prepare
        self._on_contact = on_contact
        self._stopping = stopping
        self._pauses = pauses
        self._tries = tries
        self._prepare_seconds = prepare_seconds
        self._rejected_in_a_row = rejected_in_a_row
        self._failures = 0
        self._prepared: float | None = None
        self._contact: float | None = None
        self._rejected = 0
        self._reason = ""

    async def send(self, lines: Sequence[Line]) -> list[Rejected]:
        """Send ``lines`` until every one is stored; return those that are rejected.

        Raises ``Failure`` when it gives up; some of the lines may be stored by then.
        """
        rejected: list[Rejected] = []
        parts = [list(lines)] if lines else []
        while parts:
            part = parts.pop()
            try:
                left, failure = await self._bulk(part, rejected)
            except TooLarge as error:
                if len(part) == 1:
                    rejected.append(Rejected(part[0].text, f"too large: {error}"))
                else:
                    middle = len(part) // 2
                    parts += [part[middle:], part[:middle]]
                continue
            except Failure as error:
                left, failure = part, error
            if failure is None:
                await self._succeed()
                continue
            parts.append(left)
            if len(left) < len(part):
                self._failures = 0
            await self._suffer(failure)
        return rejected

    async def probe(self) -> None:
        """Ask for a sign of life until there is one. Raises ``Failure`` when it gives up."""
        while True:
            try:
                if not await self._prepare_when_due():
                    await self._client.ping()
            except Failure as failure:
                await self._suffer(failure)
            else:
                return await self._succeed()

    def silent_for(self) -> float:
        """Return the seconds since the last contact; infinite before the first."""
        return float("inf") if self._contact is None else _now() - self._contact

    async def rest(self, seconds: float) -> None:
        """Return after ``seconds``, or as soon as ``stopping`` is set."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _bulk(
        self, lines: list[Line], rejected: list[Rejected]
    ) -> tuple[list[Line], Failure | None]:
        """Send ``lines``; return those that have to be sent again, and why."""
        await self._prepare_when_due()
        results = await self._client.create(b"".join(line.encoded for line in lines))
        if len(results) != len(lines):
            raise Failure("its reply is about more or fewer documents than were sent")
        left: list[Line] = []
        worst: Failure | None = None
        for line, result in zip(lines, results, strict=True):
            status = result["status"]
            if 200 <= status < 300 or status == 409:  # a conflict: it was stored before
                self._rejected = 0
            elif status == 400 and _error_type(result) not in _NOT_THE_DOCUMENT:
                self._rejected, self._reason = self._rejected + 1, sentence(result)
                rejected.append(Rejected(line.text, self._reason))
            else:
                left.append(line)
                failure = Failure(sentence(result), status=status)
                worst = failure if worst is None or failure.lasting else worst
        return left, worst

    async def _prepare_when_due(self) -> bool:
        """Prepare if it is time; return whether Elasticsearch was asked."""
        if self._prepared is not None and _now() - self._prepared < self._prepare_seconds:
            return False
        await self._prepare()
        self._prepared = _now()
        return True

    async def _suffer(self, failure: Failure) -> None:
        """Wait before the next try, longer each time; raise ``failure`` when there is none."""
        self._failures += 1
        # A single refusal or lost connection is everyday; a wrong password does not pass.
        if failure.lasting or self._failures > 1:
            self._prepared = None
            await self._on_contact(False, str(failure))
        if self._stopping.is_set() or self._failures >= self._tries:
            raise failure
        first, longest = self._pauses
        pause = min(longest, first * 2 ** min(self._failures - 1, 20))
        await self.rest(pause * random.uniform(0.5, 1.5))  # noqa: S311 - not for secrets

    async def _succeed(self) -> None:
        self._failures = 0
        self._contact = _now()
        if self._rejected < self._rejected_in_a_row:
            await self._on_contact(True, "")
        else:
            await self._on_contact(False, f"it rejects every record: {self._reason}")


def _error_type(result: dict[str, Any]) -> str:
    error = result.get("error")
    return str(error.get("type")) if isinstance(error, dict) else ""


def _now() -> float:
    return asyncio.get_running_loop().time()
