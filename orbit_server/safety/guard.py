"""May this text be answered? A moderating model decides, and only its clear yes counts.

text ─▶ blocklist ─▶ cache ─▶ moderator's reply ─▶ read_reply ─▶ Verdict
"""

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from cachetools import TTLCache

from ..errors import ConfigError, ModelError, ModelNotFound, ModelTimeout
from ..llm.protocols import Complete
from ..llm.retrying import retried
from ..llm.tokens import BYTES_PER_TOKEN, estimated_tokens
from ..types import Question
from .blocklist import Blocklist
from .moderators import GENERIC, PROMPT, family_of
from .verdicts import CATEGORIES, Mode, read_reply

logger = logging.getLogger(__name__)

# "SAFE" alone counts as a yes, so that no reply may be cut between it and ": false".
_SHORTEST_REPLY = 16

REFUSED = "I cannot assist with that request. Please ask me something else."
SERVICE_REFUSAL = (
    "I cannot assist with that request due to a service issue. Please try again later."
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was decided about one text.

    ``reason`` is "" for a safe text, else "blocklist", "moderator", "category S1,S9", "unreadable"
    (a reply that is no clear verdict) or "service" (no reply; then ``safe`` is what
    ``allow_on_timeout`` says). ``raw`` is the moderator's reply, or the entry of the blocklist.
    """

    safe: bool
    reason: str = ""
    raw: str = ""
    cached: bool = False
    seconds: float = 0.0


def refusal_text(verdict: Verdict) -> str:
    """Return the sentence that the asker reads instead of an answer."""
    return SERVICE_REFUSAL if verdict.reason == "service" else REFUSED


class Guard:
    """Verdicts on texts, from a list, from memory or from a moderating model.

    ``complete`` must not try again by itself: ``request_timeout`` (seconds) bounds each of
    1 + ``max_retries`` tries, and ``retry_delay`` (seconds), waited before a retry, doubles each
    time. Without a reply the text is refused, or let through with ``allow_on_timeout``. ``options``
    go to the model; with ``num_ctx`` a text that would not fit is moderated in overlapping parts,
    since Ollama drops the middle of what is too long without a word. ``note`` gets the verdict on
    every question. Raises ``ConfigError`` for a category that llama-guard3 does not have.
    """

    def __init__(
        self,
        complete: Complete,
        *,
        mode: Mode,
        model: str,
        prompt: str | None = None,
        options: Mapping[str, Any] | None = None,
        max_retries: int = 3,
        retry_delay: float = 1.0,
        request_timeout: float = 15.0,
        allow_on_timeout: bool = False,
        blocklist: Blocklist | None = None,
        categories: Sequence[str] = (),
        cache_size: int = 1024,
        cache_seconds: float = 3600.0,
        clock: Callable[[], float] = time.monotonic,
        note: Callable[[Verdict], None] = lambda verdict: None,
    ) -> None:
        self.mode, self.model, self.family = mode, model, family_of(model)
        self._complete, self._prompt, self._options = complete, prompt, dict(options or {})
        if 0 < self._options.get("num_predict", 0) < _SHORTEST_REPLY:
            self._options["num_predict"] = _SHORTEST_REPLY
        self._max_retries, self._retry_delay = max_retries, retry_delay
        self._timeout, self._allow = request_timeout, allow_on_timeout
        self._blocklist = blocklist
        self._note = note
        self._categories = tuple(code.strip().upper() for code in categories)
        if unknown := set(self._categories) - set(CATEGORIES):
            raise ConfigError([f"safety.categories: {', '.join(sorted(unknown))}: not S1 to S14"])
        self._cache: TTLCache[bytes, Verdict] = TTLCache(cache_size, cache_seconds, timer=clock)
        settings = (model, mode, self.family.name, prompt, self._categories, self._options)
        self._settings = hashlib.sha256(repr(settings).encode(errors="surrogatepass"))

    async def refusal(self, question: Question) -> Verdict | None:
        """Return ``None`` when ``question`` may be answered, else the verdict against it.

        All of the history is judged with it: nothing proves that the assistant's turns in it were
        ours. So are the caller's instructions.
        """
        turns = [turn.content for turn in question.history]
        text = "\n\n".join([*question.instructions, *turns, question.message])
        verdict = await self.check(text, request_id=question.request_id)
        self._note(verdict)
        return None if verdict.safe else verdict

    async def check(self, text: str, *, request_id: str | None = None) -> Verdict:
        """Return the verdict on the whole of ``text``. Failures of the model are verdicts too.

        ``request_id`` names in the log, and to ``complete``, the request that the text belongs to.
        """
        started = time.perf_counter()
        verdict = await self._listed(text) or self._cache.get(self._key(text))
        if verdict is None:
            verdict = await self._asked(text, request_id)
            self._remember(text, verdict)
        return replace(verdict, seconds=time.perf_counter() - started)

    async def _listed(self, text: str) -> Verdict | None:
        if self._blocklist is None:
            return None
        # In a thread, so that other requests go on between the searches for two expressions.
        entry = await asyncio.to_thread(self._blocklist.match, text)
        return Verdict(False, "blocklist", entry) if entry else None

    async def _asked(self, text: str, request_id: str | None) -> Verdict:
        verdict = Verdict(False, "unreadable")
        about = f"request {request_id}: " if request_id else ""
        for part in self._parts(text):
            try:
                reply = await self._reply(self.family.messages(part, self._prompt), request_id)
            except ModelError as error:
                outcome = "let through" if self._allow else "refused"
                cause = f"{self.model}, text {outcome}: {type(error).__name__}: {error}"
                logger.error("%sno safety verdict from %s", about, cause)
                return Verdict(self._allow, "service")
            verdict = Verdict(
                *read_reply(reply, self.mode, self.family, self._categories), raw=reply
            )
            if verdict.reason == "unreadable":
                said = f"{about}unreadable safety verdict from {self.model}"
                logger.warning("%s: %.200r", said, reply)
            if not verdict.safe:
                break
        return verdict

    async def _reply(self, messages: list[dict[str, str]], request_id: str | None) -> str:
        about = f"request {request_id}: " if request_id else ""
        retry = f"{about}safety check by {self.model} is retried"
        return await retried(
            partial(self._reply_in_time, messages, request_id),
            retries=self._max_retries,
            delay=self._retry_delay,
            worthwhile=lambda failure: not isinstance(failure, ModelNotFound),
            on_retry=lambda failure: logger.warning("%s: %s", retry, failure),
        )

    async def _reply_in_time(self, messages: list[dict[str, str]], request_id: str | None) -> str:
        named: dict[str, Any] = {"request_id": request_id} if request_id else {}
        try:
            async with asyncio.timeout(self._timeout):
                return await self._complete(
                    messages,
                    model=self.model,
                    options=self._options,
                    think=self.family.think,
                    **named,
                )
        except TimeoutError:
            raise ModelTimeout(f"no reply within {self._timeout:g} s") from None

    def _parts(self, text: str) -> list[str]:
        window = self._options.get("num_ctx")
        data = text.encode(errors="replace")
        rules = estimated_tokens(self._prompt or PROMPT) + 250 if self.family is GENERIC else 1000
        room = (window or 0) - rules - max(self._options.get("num_predict") or 0, 0)
        size = max(room, 400) * BYTES_PER_TOKEN
        if not window or len(data) <= size:
            return [text]
        starts = range(0, len(data) - size // 4, size - size // 4)
        return [data[at : at + size].decode(errors="ignore") for at in starts]

    def _key(self, text: str) -> bytes:
        digest = self._settings.copy()
        digest.update(hashlib.sha256(text.encode(errors="surrogatepass")).digest())
        return digest.digest()

    def _remember(self, text: str, verdict: Verdict) -> None:
        if verdict.reason not in ("service", "unreadable") and self._cache.maxsize:
            self._cache[self._key(text)] = replace(verdict, cached=True)
