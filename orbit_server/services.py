"""Services: everything that owns a socket, a file or a thread, opened and closed together."""

import hmac
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from . import __version__
from .answering import prompt
from .answering.answer import Answer, Generate, Retrieve, quotation
from .answering.condense import condense
from .auth.keys import Key, Keys
from .config.loader import Config
from .documents.collection_store import CollectionStore
from .errors import CollectionNotFound, Forbidden, NotStarted, OrbitError, Unprocessable
from .llm.installed import model_check, version_check
from .llm.ollama import ChatStream
from .observability.health import Check, Health, chatlog_check, elasticsearch_check, works
from .observability.metrics import Metrics
from .parts import (
    SafetyRules,
    make_chatlog,
    make_chroma,
    make_embedder,
    make_guard,
    make_ollama,
    make_reranker,
    make_shipper,
)
from .retrieval.bm25 import LexicalIndex
from .retrieval.retriever import Retrieval
from .safety.guard import Verdict
from .types import Passage, Question, Retrieved

if TYPE_CHECKING:
    from .server.certificate import Certificate

logger = logging.getLogger(__name__)

ADMIN = "admin"


class Services:
    """What the application works with, built from a configuration without opening anything.

    ``async with services`` opens all of it, in order, and closes all of it, even when one fails.
    Used outside of that, everything raises ``NotStarted``. ``address`` is where this server can be
    reached; it is written into the lock of an in-process Chroma for the command line to find.
    ``certificate`` is what it shows to browsers, where it serves HTTPS itself. ``rules`` are those
    of the safety check, where they were read before.
    """

    def __init__(
        self,
        config: Config,
        *,
        address: str | None = None,
        certificate: "Certificate | None" = None,
        rules: SafetyRules | None = None,
    ) -> None:
        self.config = config
        self.certificate = certificate
        self.opened = False
        self.ollama = make_ollama(config)
        self.chroma = make_chroma(config, address)
        self.keys = Keys(config.database.url, prefix=config.api_keys.prefix)
        self.shipper = (
            make_shipper(config, self._elasticsearch_changed)
            if config.elasticsearch.enabled
            else None
        )
        self.chatlog = make_chatlog(config, keep=self._unsent)
        self.metrics = Metrics(
            waiting=lambda: self.chatlog.waiting,
            lost=lambda: self.chatlog.lost,
            shipper_lag=self.shipper.lag if self.shipper else None,
            rejected=self.shipper.rejected if self.shipper else lambda: 0,
        )
        self.embedder = make_embedder(config, self.ollama)
        self.lexical = LexicalIndex(Path(config.retrieval.path))
        self.retrieval = Retrieval(
            chroma=self.chroma,
            lexical=self.lexical,
            embedder=self.embedder,
            top_k=config.retrieval.top_k,
            candidates=config.retrieval.candidates,
            dense_weight=config.retrieval.dense_weight,
            confidence=config.chroma.confidence_threshold,
            relevance=config.chroma.relevance_threshold,
        )
        self.guard = make_guard(config, self.ollama, rules)
        self.reranker = make_reranker(config, self.ollama)
        self.store = CollectionStore(
            chroma=self.chroma,
            lexical=self.lexical,
            embedder=self.embedder,
            retrieval=self.retrieval,
        )
        self.health = Health(self._checks(), note=self.chatlog.write_nowait)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        parts: list[AbstractAsyncContextManager[Any]] = [
            self.chatlog,
            self.keys,
            self.ollama,
            self.lexical,
            self.chroma,
            self.metrics,
            self.health,
        ]
        if self.shipper is not None:
            parts.append(self.shipper)
        if self.certificate is not None:
            parts.append(self.certificate)
        async with AsyncExitStack() as stack:
            for part in parts:
                await stack.enter_async_context(part)
            self._stack = stack.pop_all()
        self.opened = True
        self.chatlog.write_nowait("status", event="started", version=__version__, **self._summary())
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self.opened:
            self.chatlog.write_nowait("status", event="stopped")
        self.opened = False
        await self._stack.aclose()

    def report(self, error: OrbitError, request_id: str | None) -> None:
        """Tell the operator why a request failed: in the server's log and in the chat log."""
        logger.error("request %s: %s: %s", request_id, error.code, error)
        self.chatlog.write_nowait("error", request_id=request_id, code=error.code, cause=str(error))

    async def verify(self, key: str | None) -> Key | None:
        """Return whom ``key`` belongs to, else ``None``; without one, the default caller if any.

        Raises ``KeysUnavailable`` when the key table cannot be read, ``NotStarted`` outside of the
        lifespan.
        """
        if not self.opened:
            raise NotStarted(_NOT_STARTED)
        if key is not None:
            return await self.keys.verify(key)
        collection = self.config.chroma.collection
        if not self.config.api_keys.allow_default or collection is None:
            return None
        return Key(
            id="default",
            prefix="",
            collection=collection,
            client_name="default",
            notes="",
            created_at=datetime.now(UTC),
            expires_at=None,
            active=True,
            last_used_at=None,
            stream_format=None,
        )

    async def verify_admin(self, token: str | None) -> str | None:
        """Return a name for whoever holds the admin token, else ``None``.

        Raises ``Forbidden`` when no token is configured: nobody can be let in then.
        """
        expected = self.config.admin_token
        if expected is None:
            raise Forbidden(
                "Administration is switched off: set ADMIN_TOKEN in the environment or in .env."
            )
        if not self.opened:
            raise NotStarted(_NOT_STARTED)
        given = (token or "").encode(errors="replace")
        same = hmac.compare_digest(given, expected.get_secret_value().encode())
        return ADMIN if same else None

    async def check(self, question: Question) -> Verdict | None:
        """Return ``None`` when ``question`` may be answered, else the verdict against it.

        All of the history is judged with it: nothing proves that the assistant's turns in it were
        ours.
        """
        if self.guard is None:
            return None
        turns = [turn.content for turn in question.history]
        text = "\n\n".join([*turns, question.message])
        verdict = await self.guard.check(text, request_id=question.request_id)
        self.metrics.verdict(
            safe=verdict.safe,
            reason=verdict.reason,
            cached=verdict.cached,
            seconds=verdict.seconds,
        )
        return None if verdict.safe else verdict

    def answer(
        self,
        question: Question,
        collection: str,
        *,
        request_id: str | None = None,
        retrieve: Retrieve | None = None,
    ) -> Answer:
        """Return the answer to ``question`` from ``collection``; it runs when it is iterated.

        ``retrieve`` replaces this process's own search.
        """
        generate: Generate = quotation
        if self.config.answer.provider == "ollama":
            generate = partial(self._generate, request_id=request_id)
        return Answer(
            question,
            collection,
            retrieve=partial(
                self._retrieve,
                search=retrieve or partial(self.retrieval, request_id=request_id),
            ),
            generate=generate,
            nothing_found=self.config.answer.no_results_message,
        )

    async def _retrieve(
        self, question: Question, collection: str, *, search: Retrieve
    ) -> Retrieved:
        """Make a follow-up whole, search, rerank, and keep what the model can be given."""
        timings: dict[str, float] = {}
        alone = question.model_copy(update={"history": ()})
        if question.history:
            complete = partial(self.ollama.complete, request_id=question.request_id)
            with _timed(timings, "condense"):
                text = await condense(
                    question,
                    complete=complete if self._condenses else None,
                    model=self.config.ollama.model,
                    options=self.config.ollama.options,
                )
            alone = Question(message=text)
        try:
            found = await search(alone, collection)
        except Unprocessable as error:
            # The collection is the key's; whoever asks can do nothing about its name.
            raise CollectionNotFound(str(error)) from error
        passages = found.passages
        if self.reranker is not None and passages:
            with _timed(timings, "rerank"):
                passages = await self.reranker(alone.message, passages)
        if self.backend[0] == "ollama":
            answer = self.config.answer
            passages = prompt.fitting(
                question, passages, system=answer.system_prompt, token_budget=self._token_budget
            )
        return Retrieved(passages, timings | found.timings_ms)

    @property
    def _condenses(self) -> bool:
        return self.config.answer.condense and self.config.answer.provider == "ollama"

    @property
    def _token_budget(self) -> int:
        ollama = self.config.ollama
        return max(ollama.num_ctx - max(ollama.num_predict, 0), ollama.num_ctx // 2)

    def _generate(
        self, question: Question, passages: Sequence[Passage], *, request_id: str | None
    ) -> ChatStream:
        ollama = self.config.ollama
        messages = prompt.messages(
            question,
            passages,
            system=self.config.answer.system_prompt,
            history_turns=self.config.chat.history_turns,
            token_budget=self._token_budget,
        )
        if self.config.logging.include_prompts:
            logger.debug("request %s: prompt: %s", request_id, messages)
        return self.ollama.chat(messages, model=ollama.model, request_id=request_id)

    @property
    def elasticsearch_status(self) -> str:
        """``enabled``, ``disabled`` or ``unavailable``: what becomes of the chat log's copy."""
        return self.shipper.status if self.shipper else "disabled"

    def _elasticsearch_changed(self, available: bool, cause: str) -> None:
        self.chatlog.write_nowait("status", event="elasticsearch", available=available, cause=cause)

    def _unsent(self, path: Path) -> bool:
        return self.shipper is not None and self.shipper.pending(path)

    def _checks(self) -> dict[str, Check]:
        """Return the health check of every component, by the name that ``/health`` calls it."""
        provider, model = self.backend
        embedder = self.embedder
        checks = {
            "chroma": Check(self.chroma.heartbeat),
            "keys": Check(self.keys.ping),
            "logs": chatlog_check(self.chatlog),
            "elasticsearch": elasticsearch_check(
                lambda: self.elasticsearch_status,
                rejected=self.shipper.rejected if self.shipper else None,
            ),
            "llm": self._model_check(provider, model),
            "embedding": self._model_check(embedder.provider, embedder.model),
        }
        if self.uses_ollama:
            checks["ollama"] = Check(version_check(self.ollama), optional=True)
        return checks

    def _model_check(self, provider: str, model: str | None) -> Check:
        used = provider == "ollama" and model is not None
        test = model_check(self.ollama, model or "") if used else works
        return Check(test, {"provider": provider, "model": model})

    @property
    def uses_ollama(self) -> bool:
        """Whether answers are worded or questions embedded by Ollama."""
        return "ollama" in (self.config.answer.provider, self.embedder.provider)

    def _summary(self) -> dict[str, Any]:
        """Return what the log says of the configuration at start; nothing in it is secret."""
        config = self.config
        backend, model = self.backend
        return {
            "backend": backend,
            "model": model,
            "embedder": f"{self.embedder.provider}/{self.embedder.model}",
            "chroma": config.chroma.host or "in process",
            "safety": config.safety.mode if self.guard else "disabled",
            "reranker": config.reranker.model if self.reranker else "disabled",
            "elasticsearch": self.elasticsearch_status,
        }

    @property
    def backend(self) -> tuple[str, str | None]:
        """The provider that words the answers, and its model if it has one."""
        provider = self.config.answer.provider
        return provider, self.config.ollama.model if provider == "ollama" else None


@contextmanager
def _timed(timings: dict[str, float], step: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    timings[step] = round((time.perf_counter() - started) * 1000, 1)


_NOT_STARTED = (
    "the lifespan of the chat server never ran: hosts do not run the lifespan of what they mount; "
    "enter orbit.router.lifespan_context(orbit) in the host's own lifespan"
)
