"""Several Ollama servers as one: each call goes to a host that has the model."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import Any, Self, TypeVar

from ...errors import (
    EmbedderMismatch,
    ModelError,
    ModelNotFound,
    ModelUnreachable,
    NotStarted,
)
from ..installed import outdated, short, tagged
from ..ollama import ChatStream
from ..protocols import Message
from .choice import candidates, having, ranked
from .host import Host, is_hopeless
from .places import Places
from .same_files import SameFiles
from .stream import HostStream, Opened
from .watch import refresh, watch

logger = logging.getLogger(__name__)

T = TypeVar("T")
Attempt = Callable[[Host, bool], Awaitable[T]]


class Hosts:
    """The client of several Ollama servers, with the methods of ``Ollama``.

    A host that fails before its reply begins is left for the next one. A call makes one request to
    a host, and to each host at most; with ``retries`` of its own it makes 1 + ``retries`` requests
    in all. Where a single host has the model, that one is tried again as ``Ollama`` does.

    Texts are embedded by ``embed_model`` only at hosts that have the same files of it, those of
    the first host that has it. ``first_timeout`` is how many seconds an answer or the vector of a
    question may take to begin before another host is asked. ``place_timeout`` is how long an answer
    waits for a place at another host. Every ``refresh_seconds`` hosts are asked what they have,
    which may take ``ask_seconds``; the first calls wait ``first_look_seconds`` for that.
    """

    def __init__(
        self,
        hosts: Sequence[Host],
        *,
        embed_model: str,
        first_timeout: float = 60.0,
        place_timeout: float = 120.0,
        refresh_seconds: float = 15.0,
        ask_seconds: float = 5.0,
        first_look_seconds: float = 1.5,
    ) -> None:
        self.hosts = list(hosts)
        self.embed_model = tagged(embed_model)
        self._first_timeout = first_timeout
        self._refresh_seconds, self._ask_seconds = refresh_seconds, ask_seconds
        self._first_look_seconds, self._look_until = first_look_seconds, 0.0
        self._places = Places(place_timeout)
        self._places_changed: Callable[[], None] = lambda: None
        self._files = SameFiles(self.hosts, embed_model)
        self._unseen: set[Host] = set()
        self._all_seen = asyncio.Event()
        self._watchers: list[asyncio.Task[None]] = []
        self._stack: AsyncExitStack | None = None

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            for host in self.hosts:
                await stack.enter_async_context(host.client)
            stack.push_async_callback(self._stop_watching)
            self._unseen, self._all_seen = set(self.hosts), asyncio.Event()
            self._look_until = time.monotonic() + self._first_look_seconds
            self._watchers = [asyncio.create_task(self._watch(host)) for host in self.hosts]
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc: object) -> None:
        stack, self._stack = self._stack, None
        if stack is not None:
            await stack.aclose()

    # -- calls -----------------------------------------------------------------------------

    def chat(
        self,
        messages: Sequence[Message],
        *,
        model: str,
        options: Mapping[str, Any] | None = None,
        request_id: str | None = None,
        conversation: str | None = None,
    ) -> HostStream:
        """Return the stream of a reply, as ``Ollama.chat`` does; it holds a place at its host.

        What belongs to one ``conversation`` prefers the host that has read its beginning.
        """

        def at(host: Host, alone: bool) -> ChatStream:
            return host.client.chat(
                messages,
                model=model,
                options=options,
                request_id=request_id,
                retries=None if alone else 0,
                first_timeout=None if alone else self._first_timeout,
            )

        open = partial(
            self._anywhere, model, partial(_begun, at, model), conversation=conversation, place=True
        )
        return HostStream(open, leave=self._places.leave)

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        model: str,
        options: Mapping[str, Any] | None = None,
        format: str | dict[str, Any] | None = None,
        think: bool | str | None = None,
        request_id: str | None = None,
        retries: int | None = None,
    ) -> str:
        """Return the whole text of one reply, as ``Ollama.complete`` does."""

        async def at(host: Host, alone: bool) -> str:
            with host.call(model, "chat"):
                return await host.client.complete(
                    messages,
                    model=model,
                    options=options,
                    format=format,
                    think=think,
                    request_id=request_id,
                    retries=retries if alone else 0,
                )

        return await self._anywhere(model, at, retries=retries)

    async def embed(
        self,
        texts: Sequence[str],
        *,
        model: str,
        request_id: str | None = None,
        digest: str | None = None,
    ) -> list[list[float]]:
        """Return one vector a text, from a host whose model has this ``digest``.

        Without one it is the digest that is known first. Raises the ``ModelError`` family, and
        ``EmbedderMismatch`` where hosts have the model, but none with this digest.
        """

        async def at(host: Host, alone: bool) -> list[list[float]]:
            if host.models is None:  # nobody knows yet which files it has
                await refresh(host)
                if not host.has(model, digest or self._digest(model)):
                    raise self._nowhere(model)
            limited = len(texts) == 1 and not alone  # many may take as long as they take
            with host.call(model, "embed"):
                return await host.client.embed(
                    texts,
                    model=model,
                    request_id=request_id,
                    retries=None if alone else 0,
                    silence=self._first_timeout if limited else None,
                )

        await self._first_look()
        digest = digest or self._digest(model)
        try:
            return await self._anywhere(model, at, digest=digest)
        except ModelNotFound as error:
            others = [host for host in self.hosts if host.has(model)]
            if digest is None or not others or any(host.has(model, digest) for host in others):
                raise
            there = ", ".join(f"{each.name} has {short(each.digest(model))}" for each in others)
            raise EmbedderMismatch(
                f"the documents were embedded by {model} with the digest {short(digest)}, which is"
                f" on none of the hosts: {there}. Pull the same model there, or load the documents"
                " again"
            ) from error

    async def _anywhere(
        self,
        model: str,
        attempt: Attempt[T],
        *,
        retries: int | None = None,
        digest: str | None = None,
        conversation: str | None = None,
        place: bool = False,
    ) -> T:
        """Return what ``attempt`` returns at the first host where it does not fail."""
        await self._first_look()
        tried: list[Host] = []
        left = partial(candidates, self.hosts, model, digest, tried=tried)
        alone = len(having(self.hosts, model, digest)) == 1
        most = len(self.hosts) if retries is None else 1 + retries
        failure: ModelError | None = None

        def best() -> Host | None:
            free = [host for host in left() if host.has_place or not place]
            return ranked(free, model, conversation)[0] if free else None

        while left() and len(tried) < most:
            host = await self._places.take(best) if place else best()
            if host is None:
                break
            tried.append(host)
            was_out = host.is_out
            try:
                found = await attempt(host, alone)
            except BaseException as error:
                if place:
                    self._places.leave(host)
                if not isinstance(error, ModelError) or is_hopeless(error):
                    raise
                failure = error
                logger.info("a call of %s failed at %s: %s", model, host.name, error)
            else:
                if was_out:  # its places count again
                    self._places_changed()
                return found
        raise failure or self._nowhere(model)

    def _nowhere(self, model: str) -> ModelError:
        names = ", ".join(host.name for host in self.hosts)
        return ModelNotFound(f"{model} is on none of the hosts {names}: ollama pull {model}")

    # -- what is known of the hosts --------------------------------------------------------

    async def models(self) -> list[str]:
        """Return the names of the models that can be used now, each with its tag."""
        names: set[str] = set()
        for host in await self._answering():
            names |= (host.models or {}).keys()
        if not self._files.usable():
            names.discard(self.embed_model)
        return sorted(names)

    async def version(self) -> str:
        """Return the version of a host: of one with a known hole, if there is any."""
        versions = [host.version for host in await self._answering()]
        return next(filter(outdated, versions), versions[0])

    async def digest(self, model: str) -> str | None:
        """Return the digest of ``model`` that counts, ``None`` where none is known."""
        await self._first_look()
        return self._digest(model)

    def _digest(self, model: str) -> str | None:
        return self._files.digest if tagged(model) == self.embed_model else None

    def capacity(self, model: str) -> int:
        """Return how many answers of ``model`` may be written at once now; 0 for any number."""
        places = [host.places for host in candidates(self.hosts, model) or self.hosts]
        return sum(places) if all(places) else 0

    def watch_places(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` after each look at a host: ``capacity`` may have become another."""
        self._places_changed = changed

    def refused(self) -> list[str]:
        """Return a sentence for each host that may not embed."""
        return self._files.refused()

    def states(self) -> list[dict[str, Any]]:
        """Return what the operator sees of each host."""
        return [host.state() for host in self.hosts]

    async def _answering(self) -> list[Host]:
        await self._first_look()
        found = [host for host in self.hosts if host.models is not None]
        found = [host for host in found if not host.is_out]
        if not found:
            names = ", ".join(host.name for host in self.hosts)
            raise ModelUnreachable(f"none of the hosts answers: {names}")
        return found

    # -- watching --------------------------------------------------------------------------

    async def _first_look(self) -> None:
        """Wait until every host was looked at once, or has had its time for that."""
        if self._stack is None:
            raise NotStarted("the hosts of Ollama are used outside of their lifespan")
        left = self._look_until - time.monotonic()
        if left > 0 and not self._all_seen.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._all_seen.wait()

    async def _watch(self, host: Host) -> None:
        await watch(
            host,
            refresh_seconds=self._refresh_seconds,
            ask_seconds=self._ask_seconds,
            trial_seconds=self._first_timeout,
            changed=partial(self._looked_at, host),
        )

    def _looked_at(self, host: Host) -> None:
        self._unseen.discard(host)
        if not self._unseen:
            self._all_seen.set()
            self._files.warn()
        self._places.offer()
        self._places_changed()

    async def _stop_watching(self) -> None:
        for task in self._watchers:
            task.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        self._watchers.clear()


async def _begun(
    at: Callable[[Host, bool], ChatStream], model: str, host: Host, alone: bool
) -> Opened:
    """Open a stream at ``host`` and return it with its first text; closed again if that fails."""
    stream = at(host, alone)
    try:
        await stream.__aenter__()
        first: list[str] = []
        try:
            first = await anext(stream, first)
        except BaseException:
            await stream.__aexit__()
            raise
    except ModelError as error:
        host.note(error, model, "chat")
        raise
    host.works(model)
    return Opened(host, stream, first)
