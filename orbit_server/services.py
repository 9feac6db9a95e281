"""Services: everything that owns a socket, a file or a thread, opened and closed together."""

import asyncio
import hmac
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Self
from zoneinfo import ZoneInfo

from . import prompt
from .answer import Answer, Generate, Retrieve, quotation
from .blocklist import Blocklist
from .chatlog import ChatLog
from .chroma import Chroma
from .chroma_embedded import ChromaEmbedded
from .chroma_server import ChromaServer
from .condense import condense
from .config import Config
from .embedding import Embedder, LexicalEmbedder, OllamaEmbedder
from .errors import ConfigError, Forbidden, ModelError, NotStarted, OrbitError
from .guard import Guard, Verdict
from .keys import Key, Keys
from .lexical import LexicalIndex
from .ollama import ChatStream, Ollama
from .redact import redactor
from .rerank import Reranker, refuse_embedders
from .retrieval import Retrieval
from .store import LocalStore
from .types import Passage, Question, Retrieved

logger = logging.getLogger(__name__)

ADMIN = "admin"

_HEALTH_SECONDS = 5.0
_HEALTH_TIMEOUT = 2.0


class Services:
    """What the application works with, built from a configuration without opening anything.

    ``async with services`` opens all of it, in order, and closes all of it, even when one fails.
    Used outside of that, everything raises ``NotStarted``. ``address`` is where this server can be
    reached; it is written into the lock of an in-process Chroma for the command line to find.
    """

    def __init__(self, config: Config, *, address: str | None = None) -> None:
        self.config = config
        self.opened = False
        self.ollama = Ollama(
            config.ollama.base_url,
            options=config.ollama.options,
            keep_alive=config.ollama.keep_alive,
            think=config.ollama.think,
            connect_timeout=config.ollama.connect_timeout,
            read_timeout=config.ollama.read_timeout,
        )
        self.chroma = _chroma(config, address)
        self.keys = Keys(config.database.url, prefix=config.api_keys.prefix)
        self.chatlog = _chatlog(config)
        self.embedder = _embedder(config, self.ollama)
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
        self.guard = _guard(config, self.ollama)
        self.reranker = _reranker(config, self.ollama)
        self.store = LocalStore(
            chroma=self.chroma,
            lexical=self.lexical,
            embedder=self.embedder,
            retrieval=self.retrieval,
        )
        self._stack = AsyncExitStack()
        self._health: tuple[float, dict[str, Any]] | None = None
        self._health_lock = asyncio.Lock()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            for part in (self.chatlog, self.keys, self.ollama, self.lexical, self.chroma):
                await stack.enter_async_context(part)
            self._stack = stack.pop_all()
        self.opened = True
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.opened = False
        await self._stack.aclose()

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
        verdict = await self.guard.check("\n\n".join([*turns, question.message]))
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
            with _timed(timings, "condense"):
                text = await condense(
                    question,
                    complete=self.ollama.complete if self._condenses else None,
                    model=self.config.ollama.model,
                    options=self.config.ollama.options,
                )
            alone = Question(message=text)
        found = await search(alone, collection)
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
        return self.ollama.chat(messages, model=ollama.model, request_id=request_id)

    @property
    def elasticsearch_status(self) -> str:
        """``enabled``, ``disabled`` or ``unavailable``: what becomes of the chat log's copy."""
        return "disabled"

    @property
    def backend(self) -> tuple[str, str | None]:
        """The provider that words the answers, and its model if it has one."""
        provider = self.config.answer.provider
        return provider, self.config.ollama.model if provider == "ollama" else None

    async def health(self) -> dict[str, Any]:
        """Return ``{"status", "components"}``, checked at most once in a few seconds."""
        async with self._health_lock:
            now = time.monotonic()
            if self._health is None or now - self._health[0] > _HEALTH_SECONDS:
                self._health = (now, await self._check())
            return self._health[1]

    async def _check(self) -> dict[str, Any]:
        if not self.opened:
            return {"status": "error", "components": {"server": {"status": "error"}}}
        chroma, keys, models = await asyncio.gather(
            _status(self.chroma.heartbeat()), _status(self.keys.ping()), self._models()
        )
        components = {"server": {"status": "ok"}, "chroma": chroma, "keys": keys, **models}
        healthy = all(component["status"] == "ok" for component in components.values())
        return {"status": "ok" if healthy else "error", "components": components}

    async def _models(self) -> dict[str, dict[str, Any]]:
        provider, model = self.backend
        parts: dict[str, dict[str, Any]] = {
            "llm": {"provider": provider, "model": model},
            "embedding": {"provider": self.embedder.provider, "model": self.embedder.model},
        }
        if all(part["provider"] != "ollama" for part in parts.values()):
            return {name: {"status": "ok", **part} for name, part in parts.items()}
        failure: str | None = None
        installed: set[str] = set()
        try:
            async with asyncio.timeout(_HEALTH_TIMEOUT):
                installed = set(await self.ollama.models())
        except (ModelError, TimeoutError) as error:
            logger.warning("health check of Ollama: %s", error or "no answer in time")
            failure = "unreachable"
        for part in parts.values():
            problem = failure
            if problem is None and not present(part["model"], installed):
                problem = "model not installed"
            if part["provider"] != "ollama" or problem is None:
                part["status"] = "ok"
            else:
                part |= {"status": "error", "error": problem}
        return parts

    async def models_present(self) -> bool:
        """Tell whether Ollama answers and holds both the chat and the embedding model."""
        try:
            async with asyncio.timeout(_HEALTH_TIMEOUT):
                installed = set(await self.ollama.models())
        except (ModelError, TimeoutError):
            return False
        ollama = self.config.ollama
        return present(ollama.model, installed) and present(ollama.embed_model, installed)


def present(model: str | None, installed: set[str]) -> bool:
    """Tell whether ``model`` is among ``installed`` names, which always carry a tag."""
    return model in installed or f"{model}:latest" in installed


def _chroma(config: Config, address: str | None) -> Chroma:
    chroma = config.chroma
    if chroma.host is None:
        return ChromaEmbedded(Path(chroma.path), address=address)
    return ChromaServer(
        chroma.host,
        chroma.port,
        ssl=chroma.ssl,
        headers={name: value.get_secret_value() for name, value in chroma.headers.items()},
        tenant=chroma.tenant,
        database=chroma.database,
        timeout=chroma.timeout,
    )


def _embedder(config: Config, ollama: Ollama) -> Embedder:
    if config.embedding.provider == "lexical":
        return LexicalEmbedder()
    return OllamaEmbedder(
        partial(ollama.embed, model=config.ollama.embed_model),
        model=config.ollama.embed_model,
        batch_size=config.embedding.batch_size,
        concurrency=config.embedding.concurrency,
    )


def _chatlog(config: Config) -> ChatLog:
    log, file = config.logging, config.logging.file
    return ChatLog(
        Path(file.directory),
        max_wait=file.max_wait_ms / 1000,
        max_bytes=int(file.max_size_mb * 1024 * 1024),
        retention_days=file.retention_days,
        timezone=ZoneInfo(log.timezone),
        redact=redactor(log.redact) if log.redact else None,
    )


def _guard(config: Config, ollama: Ollama) -> Guard | None:
    safety = config.safety
    if not safety.active:
        return None
    options = {
        "temperature": safety.temperature,
        "top_p": safety.top_p,
        "top_k": safety.top_k,
        "repeat_penalty": safety.repeat_penalty,
        "num_predict": safety.num_predict,
    }
    return Guard(
        ollama.complete,
        mode="strict" if safety.mode == "strict" else "fuzzy",
        model=safety.model,
        prompt=_prompt(safety.prompt_file) if safety.prompt_file else None,
        options={**config.ollama.options, **options},
        max_retries=safety.max_retries,
        retry_delay=safety.retry_delay,
        request_timeout=safety.request_timeout,
        allow_on_timeout=safety.allow_on_timeout,
        blocklist=Blocklist.load(safety.blocklist) if safety.blocklist else None,
        categories=safety.categories,
    )


def _reranker(config: Config, ollama: Ollama) -> Reranker | None:
    reranker = config.reranker
    if not reranker.enabled:
        return None
    refuse_embedders(reranker.model)
    return Reranker(
        ollama.complete,
        model=reranker.model,
        top_n=reranker.top_n,
        batch_size=reranker.batch_size,
        temperature=reranker.temperature,
        timeout=reranker.timeout,
        options=config.ollama.options,
    )


@contextmanager
def _timed(timings: dict[str, float], step: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    timings[step] = round((time.perf_counter() - started) * 1000, 1)


def _prompt(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"safety.prompt_file: {path}: cannot be read: {error}"]) from error


async def _status(check: Any) -> dict[str, Any]:
    try:
        async with asyncio.timeout(_HEALTH_TIMEOUT):
            await check
    except (OrbitError, TimeoutError) as error:
        logger.warning("health check: %s", error or "no answer in time")
        return {"status": "error", "error": "unreachable"}
    return {"status": "ok"}


_NOT_STARTED = (
    "the lifespan of the chat server never ran: hosts do not run the lifespan of what they mount; "
    "enter orbit.router.lifespan_context(orbit) in the host's own lifespan"
)
