"""Services: everything that owns a socket, a file or a thread, opened and closed together."""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol, Self

from . import __version__, llm, retrieval, safety
from .answering import Pipeline
from .auth import Policy
from .auth.answer_ids import AnswerIds
from .auth.database import database_file
from .auth.guesses import Guesses
from .auth.key_watch import KeyWatch
from .auth.keys import Keys
from .auth.limits import Admission, Limiter, is_limited, memory_limiter, redis_limiter
from .config import Config
from .documents.collection_store import CollectionStore
from .errors import NotStarted
from .llm.installed import InstalledModels, model_check
from .observability import Check, CollectionsCheck, Health, build_chatlog, build_shipper
from .observability.answers_check import AnswersCheck
from .observability.health import chatlog_check, disk_check, elasticsearch_check, words_check, works
from .observability.metrics import Metrics
from .retrieval import IndexUpkeep, chroma
from .retrieval.chroma.lock import holder_token
from .safety import SafetyRules, Verdict
from .types import Question, Retrieved

logger = logging.getLogger(__name__)

_UPLOADS = 2  # whose files are read at once, each by processes of its own

_NOT_STARTED = (
    "the lifespan of the chat server never ran: hosts do not run the lifespan of what they mount; "
    "enter orbit.router.lifespan_context(orbit) in the host's own lifespan"
)


class Certificate(AbstractAsyncContextManager[Any], Protocol):
    """What browsers are shown where the server speaks HTTPS itself."""

    @property
    def expires(self) -> datetime: ...

    def days_left(self) -> int: ...

    def refresh(self) -> None: ...


class Services:
    """What the application works with, built from a configuration without opening anything.

    ``async with services`` opens all of it, in order, and closes all of it, even when one fails.
    Used outside of that, everything raises ``NotStarted``. ``address`` is where this server can be
    reached; it is written into the lock of an in-process Chroma for the command line to find.
    ``certificate`` is what it shows to browsers, where it serves HTTPS itself. ``rules`` are those
    of the safety check, where they were read before. ``limiter`` counts what keys are used, where
    other processes of this server count too.
    """

    def __init__(
        self,
        config: Config,
        *,
        address: str | None = None,
        certificate: Certificate | None = None,
        rules: SafetyRules | None = None,
        workers: int = 1,
        limiter: Limiter | None = None,
    ) -> None:
        self.certificate = certificate
        self.opened = False
        self.ollama = llm.build(config.ollama, workers=workers)
        self.queue = llm.build_queue(config.ollama, self.ollama, workers=workers)
        self.chroma = chroma.build(config.chroma, address=address)
        self.keys = Keys(config.database.url, prefix=config.api_keys.prefix)
        self.key_watch = KeyWatch(self.keys.usable)
        self.answer_ids = AnswerIds(self.keys.database)
        self.shipper = (
            build_shipper(
                config.elasticsearch,
                config.logging.file.directory,
                on_status=self._elasticsearch_changed,
            )
            if config.elasticsearch.enabled
            else None
        )
        self.chatlog = build_chatlog(config.logging, keep=self._unsent)
        self.metrics = Metrics(
            waiting=lambda: self.chatlog.waiting,
            lost=lambda: self.chatlog.lost,
            queued=lambda: self.queue.waiting,
            refused=lambda: self.queue.refused,
            shipper_lag=self.shipper.lag if self.shipper else None,
            rejected=self.shipper.rejected if self.shipper else lambda: 0,
            hosts=self.ollama.hosts if isinstance(self.ollama, llm.Hosts) else (),
        )
        local = limiter or memory_limiter()
        self.redis_limiter = redis_limiter(config.limits, local)
        self.limiter = self.redis_limiter or local
        self.embedder = retrieval.build_embedder(
            config.embedding,
            embed=self.ollama.embed,
            model=config.ollama.embed_model,
            digest_of=self.ollama.digest,
        )
        self.lexical = retrieval.build_words(config.retrieval, config.elasticsearch)
        self.retrieval = retrieval.build(
            config.retrieval,
            config.chroma,
            chroma=self.chroma,
            lexical=self.lexical,
            embedder=self.embedder,
        )
        self.upkeep = IndexUpkeep(
            self.chroma,
            self.lexical,
            self.retrieval.mender,
            others=config.chroma.host is not None and not self.lexical.remote,
        )
        self.reranker = retrieval.build_reranker(
            config.reranker, complete=self.ollama.complete, options=config.ollama.options
        )
        self.store = CollectionStore(
            chroma=self.chroma,
            lexical=self.lexical,
            embedder=self.embedder,
            retrieval=self.retrieval,
            locks=Path(config.retrieval.path) / "loading",
        )
        self.uploads = asyncio.Semaphore(_UPLOADS)
        self.answers_check = AnswersCheck()
        self.collections_check = CollectionsCheck(
            probe=partial(retrieval.probe, chroma=self.chroma),
            names=self._collection_names,
        )
        self.configure(config, rules)
        self.health = Health(self._checks(), note=self.chatlog.write_nowait)
        self._stack = AsyncExitStack()

    def configure(self, config: Config, rules: SafetyRules | None = None) -> None:
        """Replace all that follows from the configuration and holds nothing open, as a whole.

        Raises ``ConfigError``, and then changes nothing. Where a section does not fit what is open
        (another Chroma, say), that stays as it was built.
        """
        ollama = self.ollama
        guard = safety.build(
            config.safety,
            complete=partial(ollama.complete, retries=0),  # the guard tries again itself
            options=config.ollama.options,
            rules=rules,
            note=self._note_verdict,
        )
        pipeline = Pipeline(
            config,
            search=self._search,
            rerank=self.reranker,
            complete=ollama.complete,
            chat=ollama.chat,
            queue=self.queue.place,
        )
        policy = Policy(
            self.keys.verify,
            default_collection=config.chroma.collection if config.api_keys.allow_default else None,
            admin_token=config.admin_token,
            local_token=partial(holder_token, config.chroma.path),
        )
        guesses = Guesses(
            policy.verify,
            policy.verify_admin,
            remembered=self.keys.remembers,
            known=self.keys.known.include,
            limiter=self.limiter,
            most=config.limits.wrong_keys_per_minute,
            refused=self.metrics.refused,
        )
        admission = Admission(
            config.limits,
            limiter=self.limiter,
            count=self.keys.count_use,
            using=self.key_watch.using,
            refused=self.metrics.refused,
        )
        # Nothing is awaited in between, so no request sees one of them without the others.
        self.config, self.guard, self.pipeline, self.policy = config, guard, pipeline, policy
        self.guesses, self.admission = guesses, admission

    async def __aenter__(self) -> Self:
        parts: list[AbstractAsyncContextManager[Any]] = [
            self.chatlog,
            self.keys,
            self.key_watch,
            self.answer_ids,
            self.ollama,
            self.lexical,
            self.chroma,
            self.retrieval.mender,
            self.upkeep,
            self.retrieval.meter,
            self.metrics,
            self.collections_check,
            self.health,
        ]
        if self.shipper is not None:
            parts.append(self.shipper)
        if self.certificate is not None:
            parts.append(self.certificate)
        if self.redis_limiter is not None:
            parts.append(self.redis_limiter)
        async with AsyncExitStack() as stack:
            for part in parts:
                await stack.enter_async_context(part)
            await self._check_page_key()
            self._stack = stack.pop_all()
        self.opened = True
        self.chatlog.write_nowait("status", event="started", version=__version__, **self._summary())
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self.opened:
            self.chatlog.write_nowait("status", event="stopped")
        self.opened = False
        await self._stack.aclose()

    def require_open(self) -> None:
        """Raise ``NotStarted`` outside of ``async with``."""
        if not self.opened:
            raise NotStarted(_NOT_STARTED)

    @property
    def elasticsearch_status(self) -> str:
        """``enabled``, ``disabled`` or ``unavailable``: what becomes of the chat log's copy."""
        return self.shipper.status if self.shipper else "disabled"

    @property
    def uses_ollama(self) -> bool:
        """Whether answers are worded or questions embedded by Ollama."""
        return "ollama" in (self.pipeline.backend[0], self.embedder.provider)

    async def _check_page_key(self) -> None:
        secret = self.config.web.page_key
        if secret is None:
            return
        key = await self.keys.verify(secret.get_secret_value())
        if key is None:
            logger.warning("web.page_key is not a usable API key: visitors of the page are refused")
        elif not is_limited(key, self.config.limits):
            logger.warning(
                "every visitor can read web.page_key, and it has no limits: `orbit keys limit %s`"
                " sets some",
                key.id,
            )

    def _elasticsearch_changed(self, available: bool, cause: str) -> None:
        self.chatlog.write_nowait("status", event="elasticsearch", available=available, cause=cause)

    async def _search(self, question: Question, collection: str) -> Retrieved:
        return await self.collections_check.watch(collection, self.retrieval(question, collection))

    async def _collection_names(self) -> list[str]:
        return [collection.name for collection in await self.chroma.collections()]

    async def _test_chroma(self) -> Mapping[str, Any]:
        await self.chroma.heartbeat()
        found = await self.collections_check.test()
        if self.retrieval.mender.incomplete:
            found = {"warning": "a collection is searched by meaning alone", **found}
        return found

    def _note_verdict(self, verdict: Verdict) -> None:
        self.metrics.verdict(
            safe=verdict.safe,
            reason=verdict.reason,
            cached=verdict.cached,
            seconds=verdict.seconds,
        )

    def _unsent(self, path: Path) -> bool:
        return self.shipper is not None and self.shipper.pending(path)

    def _checks(self) -> dict[str, Check]:
        """Return the health check of every component, by the name that ``/health`` calls it."""
        config, embedder, installed = self.config, self.embedder, InstalledModels(self.ollama)

        def model(provider: str, name: str | None) -> Check:
            used = provider == "ollama" and name is not None
            test = model_check(installed, name or "") if used else works
            return Check(test, {"provider": provider, "model": name})

        llm_check = model(*self.pipeline.backend)
        checks = {
            "chroma": Check(self._test_chroma),
            "keys": Check(self.keys.ping),
            "logs": chatlog_check(self.chatlog),
            "elasticsearch": elasticsearch_check(
                lambda: self.elasticsearch_status,
                rejected=self.shipper.rejected if self.shipper else None,
            ),
            "llm": llm_check._replace(test=self.answers_check.after(llm_check.test)),
            "embedding": model(embedder.provider, embedder.model),
        }
        checks["words"] = words_check(self.lexical.ping)
        folders = [] if self.lexical.remote else [Path(config.retrieval.path)]
        if config.chroma.host is None:
            folders.append(Path(config.chroma.path))
        if database := database_file(config.database.url):
            folders.append(database.parent)
        checks["disk"] = disk_check(folders)
        if self.redis_limiter is not None:
            checks["limits"] = Check(self.redis_limiter.health)
        if self.guard is not None:
            checks["safety"] = model("ollama", config.safety.model)
        if self.uses_ollama:
            checks["ollama"] = Check(llm.server_check(self.ollama), optional=True)
        return checks

    def _summary(self) -> dict[str, Any]:
        """Return what the log says of the configuration at start; nothing in it is secret."""
        config = self.config
        backend, model = self.pipeline.backend
        return {
            "backend": backend,
            "model": model,
            "embedder": f"{self.embedder.provider}/{self.embedder.model}",
            "chroma": config.chroma.host or "in process",
            "safety": config.safety.mode if self.guard else "disabled",
            "reranker": config.reranker.model if self.reranker else "disabled",
            "elasticsearch": self.elasticsearch_status,
        }
