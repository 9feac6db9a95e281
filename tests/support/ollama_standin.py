"""An Ollama that tests can script: a real HTTP server with Ollama's routes, texts and habits.

    async with OllamaStandIn() as ollama:
        ollama.reply = ["Hel", "lo"]
        ollama.fault = ErrorLine(after=1)
        ... a client talks to ollama.url ...

It answers as Ollama answers, and beside that keeps a list of ``misuse``: what Ollama would ignore
without a word or refuse (an option outside ``options``, an unknown name, a wrong type, a change
that makes it load the model again). Leaving the ``async with`` raises AssertionError if there is
any.

As a program, ``python -m tests.support.ollama_standin --port 11434``, it serves trials and
benchmarks.
Ollama's ``api/types.go`` and ``server/routes.go`` are the source of the protocol.
"""

import argparse
import asyncio
import hashlib
import ipaddress
import json
import math
import re
import signal
import socket
import struct
import sys
import time
import zlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from itertools import pairwise
from typing import Any, NamedTuple, Protocol, Self, cast

import httptools

from .ports import HOST, free_port

Body = dict[str, Any]
Reply = str | Sequence[str] | Callable[[Body], str | Iterable[str]]

VERSION = "0.33.0"
BUSY_TEXT = "server busy, please try again.  maximum pending requests exceeded"
RUNNER_TEXT = (
    "model runner has unexpectedly stopped, this may be due to resource limitations or an internal "
    "error, check ollama server logs for details"
)
DEATH_TEXT = "an error was encountered while running the model: unexpected EOF"
SPLIT_PAUSE = 0.002  # seconds between the parts of a split line, so that they are read apart


@dataclass(frozen=True, slots=True)
class Status:
    """Refuse before the first byte: ``{"error": error}``, or ``page`` as a proxy's HTML.

    Neither of them gives an empty body, as Ollama's 403 has.
    """

    status: int
    error: str | None = None
    page: str | None = None


@dataclass(frozen=True, slots=True)
class NotPulled:
    """404, with today's text, or with the one of older versions when ``old``."""

    old: bool = False


@dataclass(frozen=True, slots=True)
class ErrorLine:
    """The runner dies after ``after`` pieces: an error line; before the first one a 500.

    Not streamed, it is always a 500. The next request loads the model again.
    """

    after: int = 0
    error: str = DEATH_TEXT


@dataclass(frozen=True, slots=True)
class OldStyleError(ErrorLine):
    """The error of versions before 0.12.6: status 200, and the error as the first line."""


@dataclass(frozen=True, slots=True)
class EndWithoutDone:
    """After ``after`` pieces a clean end of the response, without ``"done": true``."""

    after: int = 0


@dataclass(frozen=True, slots=True)
class Abort:
    """After ``after`` pieces the socket closes, mid-response; with ``reset`` by a TCP reset."""

    after: int = 0
    reset: bool = False


@dataclass(frozen=True, slots=True)
class Hang:
    """After ``after`` pieces nothing more, until the client leaves."""

    after: int = 0


Fault = Status | NotPulled | ErrorLine | EndWithoutDone | Abort | Hang
Script = Fault | list[Fault | None] | None

BUSY = Status(503, BUSY_TEXT)
RUNNER_STOPPED = Status(500, RUNNER_TEXT)


class Request(NamedTuple):
    """One request as it came in; header names in lower case, the body as JSON where it was that."""

    path: str
    headers: dict[str, str]
    body: Any


class Disconnect(NamedTuple):
    """A client that left early: phase queued, head, stream, embed or pull; ``at`` is loop time."""

    path: str
    phase: str
    pieces: int
    at: float


class OllamaStandIn:
    """The server. Enter it to start it; assign its attributes at any time, also while it runs.

    ``fault`` and ``embed_fault`` hold for every call, or, as a list, for the next calls one by one.
    ``reply`` is one text (sent word by word), the pieces, or a function of the request's body.
    A model with the capability ``thinking`` first says ``thinking`` unless told ``think: false``.
    Delays are seconds, ``first_delay`` that of the first piece where it differs; with ``permits``
    each piece waits until it can acquire one. ``slots`` is
    OLLAMA_NUM_PARALLEL, None for no limit. Without ``embed_cuts`` it refuses to embed what is
    longer than the context, as 0.13.5 to 0.24 did; ``unembeddable`` is a word that a batch with it
    is refused for, as bge-m3 does with some texts. ``digests`` replaces the digests of models,
    ``prefix`` is a path before all routes and ``token`` a password that a proxy before it asks for;
    while it is ``frozen`` it takes connections and answers nothing at all.
    """

    def __init__(self, *, host: str = HOST, port: int | None = None) -> None:
        self.host, self.port = host, free_port() if port is None else port
        self.models: dict[str, Sequence[str]] = {
            "gemma3:4b": ["completion"],
            "bge-m3:latest": ["embedding"],
        }
        self.registry: dict[str, Sequence[str]] = {
            **self.models,
            "qwen3:4b": ["completion", "tools", "thinking"],
        }
        self.reply: Reply = "The library opens at nine."
        self.thinking: Sequence[str] = ["Let me ", "think."]
        self.piece_delay = 0.0
        self.first_delay: float | None = None
        self.permits: asyncio.Semaphore | None = None
        self.head_delay = 0.0
        self.embed_delay = 0.0
        self.fault: Script = None
        self.embed_fault: Script = None
        self.embed_cuts = True
        self.unembeddable = ""
        self.digests: dict[str, str] = {}
        self.prefix = self.token = ""
        self.frozen = False
        self.slots: int | None = None
        self.dimension = 64
        self.context_length = 8192
        self.done_reason: str | None = "stop"
        self.without: frozenset[str] | set[str] = frozenset()
        self.split_writes = False
        self.coalesce = 1
        self.long_line = 0
        self.record = True
        self.requests: list[Request] = []
        self.misuse: list[str] = []
        self.loads: list[str] = []
        self.disconnects: list[Disconnect] = []
        self.active = 0
        self.max_active = 0
        self._loaded: dict[str, Body] = {}
        self._load_options: dict[str, Body] = {}
        self._semaphores: dict[tuple[str, int], asyncio.Semaphore] = {}
        self._departures: asyncio.Queue[Disconnect] = asyncio.Queue()
        self._change = asyncio.Event()
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        await self.kill()
        if kind is None and self.misuse:
            raise AssertionError("Ollama was misused:\n" + "\n".join(self.misuse))

    @property
    def url(self) -> str:
        """The address to put into ``ollama.base_url``."""
        return f"http://{self.host}:{self.port}{self.prefix}"

    async def start(self) -> None:
        """Listen; after ``kill`` on the same port as before."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self), self.host, self.port, backlog=2048
        )

    async def kill(self) -> None:
        """Stop listening and cut every connection, as a killed process does."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        self._loaded.clear()
        tasks = [task for connection in self._connections if (task := connection.task)]
        for connection in list(self._connections):
            connection.drop()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()

    def take_misuse(self) -> list[str]:
        """Return what was noted and forget it, so that the test may end well."""
        taken, self.misuse = self.misuse, []
        return taken

    def bodies(self, path: str) -> list[Body]:
        """Return the bodies of all requests to ``path``, oldest first."""
        return [request.body for request in self.requests if request.path == path]

    async def wait_disconnect(self, timeout: float = 30.0) -> Disconnect:
        """Return the oldest departure not yet returned; TimeoutError when none comes in time."""
        return await asyncio.wait_for(self._departures.get(), timeout)

    async def until(self, holds: Callable[[], bool], timeout: float = 30.0) -> None:
        """Return once ``holds()``; asked when a request, a generation or a client comes or goes.

        Raises TimeoutError after ``timeout`` seconds.
        """
        async with asyncio.timeout(timeout):
            while not holds():
                await self._change.wait()

    # -- dispatch --------------------------------------------------------------------------

    async def _answer(self, connection: "_Connection", incoming: "_Incoming") -> None:
        incoming = incoming._replace(path=incoming.path.removeprefix(self.prefix))
        methods, handler = _ROUTES.get(incoming.path, ("", None))
        try:
            if self.frozen:
                await asyncio.Event().wait()
            elif self.token and incoming.headers.get("authorization") != f"Bearer {self.token}":
                connection.send(401, b"<html>Who are you?</html>", "text/html")
            elif not _welcome(incoming.headers):
                connection.send(403, b"", "")
            elif incoming.path != "/" and incoming.path.rstrip("/") in _ROUTES and handler is None:
                location = f"Location: {incoming.path.rstrip('/')}\r\n"
                connection.send(301, b"", "", location.encode())
            elif handler is None:
                connection.send(404, b"404 page not found", "text/plain")
            elif incoming.method not in methods.split():
                connection.send(405, b"405 method not allowed", "text/plain")
            elif incoming.method == "POST":
                await handler(self, connection, self._bound(incoming.path, incoming.body))
            else:
                await handler(self, connection, {})
        except _Refusal as refusal:
            connection.send_json({"error": str(refusal)}, refusal.status)
        except Exception as error:
            self.misuse.append(f"the stand-in itself failed: {error!r}")
            connection.cut()

    def _bound(self, path: str, raw: bytes) -> Body:
        if not raw.strip():
            raise _Refusal(400, "missing request body")
        try:
            # Go reads one value, whatever comes after it, and replaces what is no UTF-8.
            body: Body = json.JSONDecoder().raw_decode(raw.decode(errors="replace").lstrip())[0]
        except ValueError as error:
            raise _Refusal(400, _syntax_error(raw, error)) from None
        try:
            _check_fields(path, body, self.misuse)
        except _Refusal as refusal:
            self.misuse.append(f"{path}: {refusal}")
            raise
        return body

    def changed(self) -> None:
        """Wake whoever waits in ``until``."""
        change, self._change = self._change, asyncio.Event()
        change.set()

    def arrived(self, incoming: "_Incoming") -> None:
        """Record a request, whatever becomes of it."""
        if self.record:
            try:
                body = json.loads(incoming.body) if incoming.body else None
            except ValueError:
                body = incoming.body
            self.requests.append(Request(incoming.path, incoming.headers, body))
            self.changed()

    def left(self, connection: "_Connection") -> None:
        """Record that a client closed its connection before it had its whole response."""
        now = asyncio.get_running_loop().time()
        gone = Disconnect(connection.path, connection.phase, connection.pieces, now)
        if self.record:
            self.disconnects.append(gone)
            self._departures.put_nowait(gone)
            self.changed()

    # -- models ----------------------------------------------------------------------------

    def _capabilities(self, body: Body, not_found: str) -> Sequence[str]:
        if not body.get("model"):
            raise _Refusal(400, "model is required")
        if not re.fullmatch(r"[\w./:-]+", body["model"]):
            raise _Refusal(400, "invalid model name")
        for name, capabilities in self.models.items():
            if _tagged(name) == _tagged(body["model"]):
                return capabilities
        raise _Refusal(404, not_found)

    def _load(self, body: Body) -> None:
        options = body.get("options") or {}
        for name, value in options.items():
            if error := _option_error(name, value):
                self.misuse.append(error)
                raise _Refusal(500, error)
            if name not in _OPTIONS:
                self.misuse.append(f"option {name!r} is unknown")
            elif _OPTIONS[name] == "integer" and value is not None and value != int(value):
                self.misuse.append(f"option {name!r} loses the fraction of {value}")
        name = _tagged(body["model"])
        wanted = {key: options[key] for key in _LOAD_OPTIONS if options.get(key) is not None}
        if body.get("shift") is not None:
            wanted["shift"] = body["shift"]
        before = self._load_options.setdefault(name, wanted)
        if wanted != before:
            self.misuse.append(f"{name} is loaded again: {before} became {wanted}")
            self._load_options[name] = wanted
        if self._loaded.get(name) != wanted:
            self.loads.append(name)
            self._loaded[name] = wanted
        if body.get("keep_alive") == 0:
            del self._loaded[name]

    @asynccontextmanager
    async def _slot(self, connection: "_Connection", body: Body) -> AsyncIterator[None]:
        if self.slots is None:
            yield
            return
        key = _tagged(body["model"]), self.slots
        semaphore = self._semaphores.setdefault(key, asyncio.Semaphore(self.slots))
        connection.phase = "queued"
        async with semaphore:
            yield

    # -- chat and generate -----------------------------------------------------------------

    async def _chat(self, connection: "_Connection", body: Body) -> None:
        thinks = self._checked_generation(body, "chat")
        self._load(body)
        if not body.get("messages"):
            unload = body.get("keep_alive") == 0
            empty = {"message": {"role": "assistant", "content": ""}}
            connection.send_json(_loaded_reply(body, empty, "unload" if unload else "load"))
            return
        await self._generation(connection, body, thinks, _CHAT)

    async def _generate(self, connection: "_Connection", body: Body) -> None:
        if body.get("raw") and any(body.get(key) for key in ("template", "system", "context")):
            raise _Refusal(400, "raw mode does not support template, system, or context")
        thinks = self._checked_generation(body, "generate")
        self._load(body)
        if not body.get("prompt"):
            unload = body.get("keep_alive") == 0
            reply = _loaded_reply(body, {"response": ""}, "unload" if unload else "load")
            connection.send_json(reply)
            return
        await self._generation(connection, body, thinks, _GENERATE)

    def _checked_generation(self, body: Body, route: str) -> bool:
        model, think = body.get("model"), body.get("think")
        capabilities = self._capabilities(body, f"model '{model}' not found")
        if think and "thinking" not in capabilities:
            self.misuse.append(f"think: {think!r} to {model}, which cannot think")
            raise _Refusal(400, f'"{model}" does not support thinking')
        if "completion" not in capabilities:
            raise _Refusal(400, f'"{model}" does not support {route}')
        if body.get("tools") and "tools" not in capabilities:
            full = f"registry.ollama.ai/library/{_tagged(str(model))}"
            raise _Refusal(400, f"{full} does not support tools")
        return "thinking" in capabilities and think is not False

    async def _generation(
        self, connection: "_Connection", body: Body, thinks: bool, shape: "_Shape"
    ) -> None:
        fault = _taken(self.fault)
        streamed = body.get("stream") is not False
        if isinstance(fault, Status | NotPulled):
            _refuse(connection, fault, body, streamed=streamed)
            return
        if (wrong := _format_error(body.get("format"))) is not None:
            self.misuse.append(wrong)
            _refuse(connection, Status(500, wrong), body, streamed=streamed)
            return
        if not _is_usable_schema(body.get("format")):
            self.misuse.append(f"unusable schema: {body['format']}")
            _refuse(connection, Status(400, _SCHEMA_ERROR), body, streamed=streamed)
            return
        if isinstance(fault, ErrorLine):
            self._loaded.pop(_tagged(body["model"]), None)
            if fault.after == 0 and not isinstance(fault, OldStyleError):
                _refuse(connection, Status(500, fault.error), body, streamed=streamed)
                return
        limit = int((body.get("options") or {}).get("num_ctx") or self.context_length)
        if (tokens := _tokens(body)) > limit:
            self.misuse.append(f"a prompt of {tokens} tokens is cut, because num_ctx is {limit}")
            if (refusal := _length_error(body, tokens, limit)) is not None:
                _refuse(connection, Status(400, refusal), body, streamed=streamed)
                return
            body = _cut(body, limit)
        began = time.time_ns()
        sink: _Sink = (
            _Stream(connection, body["model"], shape, self)
            if streamed
            else _Whole(connection, body["model"], shape)
        )
        async with self._slot(connection, body):
            self.active += 1
            self.max_active = max(self.max_active, self.active)
            self.changed()
            try:
                connection.phase = "head"
                if self.head_delay:
                    await asyncio.sleep(self.head_delay)
                said, cut = await self._say(connection, body, thinks, fault, sink)
                if fault is None:
                    await sink.final(self._counters(body, began, said, cut, shape))
                elif isinstance(fault, ErrorLine):
                    await sink.error(fault.error)
                elif isinstance(fault, EndWithoutDone):
                    await sink.end()
                else:
                    await sink.flush()
                    await _break(connection, fault)
            finally:
                self.active -= 1
                self.changed()

    async def _say(
        self,
        connection: "_Connection",
        body: Body,
        thinks: bool,
        fault: Fault | None,
        sink: "_Sink",
    ) -> tuple[int, bool]:
        loop = asyncio.get_running_loop()
        pieces = [(piece, False) for piece in _pieces(self.reply, body)]
        if thinks:
            pieces = [(piece, True) for piece in self.thinking] + pieces
        wanted, cut = len(pieces), False
        limit = int((body.get("options") or {}).get("num_predict") or -1)
        if 0 < limit < wanted:
            wanted, cut = limit, True
        stop = getattr(fault, "after", wanted)
        if stop < wanted:
            wanted, cut = stop, False
        due = loop.time()
        pause = self.piece_delay if self.first_delay is None else self.first_delay
        for piece, thought in pieces[:wanted]:
            if pause:
                # A late piece delays the next ones: a model does not catch up.
                due = max(due + pause, now := loop.time())
                await asyncio.sleep(due - now)
            pause = self.piece_delay
            if self.permits is not None:
                await self.permits.acquire()
            connection.phase = "stream"
            connection.pieces += 1
            await sink.piece(piece, thought)
        return wanted, cut

    def _counters(
        self, body: Body, began: int, said: int, cut: bool, shape: "_Shape"
    ) -> dict[str, Any]:
        spent = time.time_ns() - began
        head = int(self.head_delay * 1e9)
        prompt = _tokens(body)
        counters: dict[str, Any] = {
            "done_reason": "length" if cut else self.done_reason,
            "context": list(range(1, prompt + said + 1)) if shape is _GENERATE else None,
            "total_duration": spent,
            "load_duration": head // 2,
            "prompt_eval_count": prompt,
            "prompt_eval_duration": head - head // 2,
            "eval_count": said,
            "eval_duration": max(spent - head, 1),
        }
        # Ollama leaves zeros and empty texts out.
        return {key: value for key, value in counters.items() if value and key not in self.without}

    # -- embeddings ------------------------------------------------------------------------

    async def _embed(self, connection: "_Connection", body: Body) -> None:
        given = body.get("input")
        texts = [given] if isinstance(given, str) and given else given or []
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            self.misuse.append("/api/embed: input holds something else than texts")
            raise _Refusal(400, "invalid input type")
        began = time.time_ns()
        if not await self._embedding_begins(connection, body):
            return
        if not texts:
            connection.send_json({"model": body["model"], "embeddings": []})
            return
        limit = int((body.get("options") or {}).get("num_ctx") or self.context_length)
        limit = min(limit, self.context_length)
        words = [text.split() for text in texts]
        cuts = self.embed_cuts and body.get("truncate") is not False
        if not cuts and any(len(each) > limit for each in words):
            raise _Refusal(400, "the input length exceeds the context length")
        if self.unembeddable and any(self.unembeddable in text for text in texts):
            raise _Refusal(500, "failed to encode response: json: unsupported value: NaN")
        vectors = [
            embedding(text if len(each) <= limit else " ".join(each[:limit]), self.dimension)
            for text, each in zip(texts, words, strict=True)
        ]
        shorter = body.get("dimensions") or 0
        if 0 < shorter < self.dimension:
            vectors = [_normalised(vector[:shorter]) for vector in vectors]
        reply = {
            "model": body["model"],
            "embeddings": vectors,
            "total_duration": time.time_ns() - began,
            "load_duration": 1_334_875,
            "prompt_eval_count": sum(min(len(each), limit) for each in words),
        }
        connection.send_json({key: value for key, value in reply.items() if value})

    async def _embeddings(self, connection: "_Connection", body: Body) -> None:
        if await self._embedding_begins(connection, body):
            prompt = body.get("prompt") or ""
            vector = embedding(prompt, self.dimension) if prompt else []
            connection.send_json({"embedding": [16.0 * number for number in vector]})

    async def _embedding_begins(self, connection: "_Connection", body: Body) -> bool:
        model = body.get("model")
        text = f'model "{model}" not found, try pulling it first'
        if not model:
            raise _Refusal(404, "model '' not found")
        if "embedding" not in self._capabilities(body, text):
            raise _Refusal(
                501, "This server does not support embeddings. Start it with `--embeddings`"
            )
        self._load(body)
        async with self._slot(connection, body):
            connection.phase = "embed"
            if self.embed_delay:
                await asyncio.sleep(self.embed_delay)
            fault = _taken(self.embed_fault)
            if isinstance(fault, Status):
                _refuse(connection, fault, body, streamed=False)
            elif isinstance(fault, NotPulled):
                raise _Refusal(404, text)
            elif isinstance(fault, ErrorLine):
                raise _Refusal(500, fault.error)
            elif fault is not None:
                await _break(connection, fault)
        return fault is None

    # -- what is installed -----------------------------------------------------------------

    def _described(self, name: str) -> dict[str, Any]:
        digests = {_tagged(model): digest for model, digest in self.digests.items()}
        described = _described(name)
        return {**described, "digest": digests.get(_tagged(name), described["digest"])}

    async def _root(self, connection: "_Connection", body: Body) -> None:
        connection.send(200, b"Ollama is running", "text/plain; charset=utf-8")

    async def _version(self, connection: "_Connection", body: Body) -> None:
        connection.send_json({"version": VERSION})

    async def _tags(self, connection: "_Connection", body: Body) -> None:
        listed = [
            {
                **self._described(name),
                "modified_at": _now().decode(),
                "capabilities": list(capabilities),
            }
            for name, capabilities in self.models.items()
        ]
        connection.send_json({"models": listed})

    async def _ps(self, connection: "_Connection", body: Body) -> None:
        listed = [
            {
                **self._described(name),
                "expires_at": _now().decode(),
                "size_vram": 0,
                "context_length": wanted.get("num_ctx", self.context_length),
            }
            for name, wanted in self._loaded.items()
        ]
        connection.send_json({"models": listed})

    async def _show(self, connection: "_Connection", body: Body) -> None:
        named = {**body, "model": body.get("model") or body.get("name")}
        capabilities = self._capabilities(named, f"model '{named['model']}' not found")
        described = _described(named["model"])
        family = described["details"]["family"]
        connection.send_json(
            {
                "modelfile": f"FROM {named['model']}\n",
                "template": "{{ .Prompt }}",
                "details": described["details"],
                "model_info": {
                    "general.architecture": family,
                    f"{family}.context_length": self.context_length,
                    f"{family}.embedding_length": self.dimension,
                },
                "capabilities": list(capabilities),
                "modified_at": _now().decode(),
            }
        )

    async def _pull(self, connection: "_Connection", body: Body) -> None:
        name = _tagged(str(body.get("model") or body.get("name") or ""))
        found = {_tagged(known): caps for known, caps in self.registry.items()}.get(name)
        connection.phase = "pull"
        if body.get("stream") is False:
            if found is None:
                raise _Refusal(500, "pull model manifest: file does not exist")
            self.models[name] = found
            connection.send_json({"status": "success"})
            return
        progress: list[Body] = [{"status": "pulling manifest"}]
        if found is None:
            progress.append({"error": "pull model manifest: file does not exist"})
        else:
            digest, size = _digest(name), 1_000_000
            layer = {"status": f"pulling {digest[:12]}", "digest": f"sha256:{digest}"}
            done = [{}, {"completed": size // 2}, {"completed": size}]
            progress += [{**layer, "total": size, **part} for part in done]
            steps = "verifying sha256 digest", "writing manifest", "success"
            progress += [{"status": step} for step in steps]
        for line in progress:
            if self.piece_delay:
                await asyncio.sleep(self.piece_delay)
            if line.get("status") == "success" and found is not None:
                self.models[name] = found
            await connection.chunk(_encoded(line) + b"\n")
            connection.pieces += 1
        connection.end()


_Handler = Callable[[OllamaStandIn, "_Connection", Body], Awaitable[None]]
_ROUTES: dict[str, tuple[str, _Handler | None]] = {
    "/": ("GET HEAD", OllamaStandIn._root),
    "/api/version": ("GET HEAD", OllamaStandIn._version),
    "/api/tags": ("GET HEAD", OllamaStandIn._tags),
    "/api/ps": ("GET", OllamaStandIn._ps),
    "/api/show": ("POST", OllamaStandIn._show),
    "/api/pull": ("POST", OllamaStandIn._pull),
    "/api/chat": ("POST", OllamaStandIn._chat),
    "/api/generate": ("POST", OllamaStandIn._generate),
    "/api/embed": ("POST", OllamaStandIn._embed),
    "/api/embeddings": ("POST", OllamaStandIn._embeddings),
}


# -- what Ollama accepts ---------------------------------------------------------------


class _Refusal(Exception):
    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status = status


_LOAD_INTEGERS = ("num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread", "draft_num_predict")
_LOAD_OPTIONS = (*_LOAD_INTEGERS, "use_mmap")
_PENALTIES = ("repeat_penalty", "presence_penalty", "frequency_penalty")
_OPTIONS = {
    **dict.fromkeys(
        ("num_keep", "seed", "num_predict", "top_k", "repeat_last_n", *_LOAD_INTEGERS),
        "integer",
    ),
    **dict.fromkeys(
        ("top_p", "min_p", "typical_p", "temperature", *_PENALTIES),
        "float32",
    ),
    "use_mmap": "boolean",
    "stop": "array",
}
_MODEL = {"model": "string", "options": "map[string]interface {}", "keep_alive": "any"}
_GENERATION = {
    **_MODEL,
    **dict.fromkeys(("stream", "truncate", "shift", "logprobs"), "bool"),
    **dict.fromkeys(("format", "think"), "any"),
    "top_logprobs": "int",
}
_FIELDS: dict[str, tuple[str, dict[str, str]]] = {
    "/api/chat": (
        "ChatRequest",
        {**_GENERATION, "messages": "[]api.Message", "tools": "api.Tools"},
    ),
    "/api/generate": (
        "GenerateRequest",
        {
            **_GENERATION,
            **dict.fromkeys(("prompt", "suffix", "system", "template"), "string"),
            "raw": "bool",
            "images": "[]api.ImageData",
            "context": "[]int",
        },
    ),
    "/api/embed": (
        "EmbedRequest",
        {**_MODEL, "input": "any", "truncate": "bool", "dimensions": "int"},
    ),
    "/api/embeddings": ("EmbeddingRequest", {**_MODEL, "prompt": "string"}),
    "/api/show": ("ShowRequest", {"model": "string", "name": "string", "verbose": "bool"}),
    "/api/pull": (
        "PullRequest",
        {"model": "string", "name": "string", "stream": "bool", "insecure": "bool"},
    ),
}
_MESSAGE = {
    **dict.fromkeys(("role", "content", "thinking", "tool_name", "tool_call_id"), "string"),
    "images": "[]api.ImageData",
    "tool_calls": "[]api.ToolCall",
}
_LEVELS = '"high", "medium", "low", "max", true, or false'


def _json_kind(value: Any) -> str:
    kinds = {bool: "bool", str: "string", int: "number", float: "number", list: "array"}
    return kinds.get(type(value), "object")


def _check_fields(path: str, body: Any, misuse: list[str]) -> None:
    struct_name, fields = _FIELDS[path]
    if not isinstance(body, dict):
        raise _Refusal(
            400,
            f"json: cannot unmarshal {_json_kind(body)} into Go value of type api.{struct_name}",
        )
    for key in body:
        if key in _OPTIONS and key not in fields:
            misuse.append(f"{path}: {key!r} is read only inside options")
        elif key not in fields:
            misuse.append(f"{path}: unknown field {key!r}")
    _check_types(body, fields, struct_name)
    for message in body.get("messages") or []:
        if not isinstance(message, dict):
            raise _Refusal(400, _mismatch(message, f"{struct_name}.messages", "api.Message"))
        misuse += [
            f"{path}: unknown field {key!r} in a message" for key in message.keys() - _MESSAGE
        ]
        _check_types(message, _MESSAGE, f"{struct_name}.messages")
    if wrong := _think_error(body.get("think")) or _keep_alive_error(body.get("keep_alive")):
        raise _Refusal(400, wrong)
    if not 0 <= (body.get("top_logprobs") or 0) <= 20:
        raise _Refusal(400, "top_logprobs must be between 0 and 20")


def _check_types(given: Body, fields: Mapping[str, str], struct_name: str) -> None:
    for key, value in given.items():
        go_type = fields.get(key, "any")
        if value is None or go_type == "any":
            continue
        short = go_type if go_type in ("string", "bool") else "number" if go_type == "int" else ""
        if _json_kind(value) != (short or ("object" if go_type.startswith("map") else "array")):
            raise _Refusal(400, _mismatch(value, f"{struct_name}.{key}", go_type))


def _mismatch(value: Any, field: str, go_type: str) -> str:
    kind = _json_kind(value)
    return f"json: cannot unmarshal {kind} into Go struct field {field} of type {go_type}"


def _think_error(think: Any) -> str | None:
    if think is None or isinstance(think, bool) or think in ("high", "medium", "low", "max"):
        return None
    if isinstance(think, str):
        return f"invalid think value: {json.dumps(think)} (must be {_LEVELS})"
    return f"think must be a boolean or string ({_LEVELS})"


def _keep_alive_error(value: Any) -> str | None:
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return None
    if not isinstance(value, str):
        return f"Unsupported type: '{_json_kind(value)}'"
    if re.fullmatch(r"-?((\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h))+|-?0", value):
        return None
    number = re.match(r"-?(\d+(\.\d*)?|\.\d+)", value)
    if number is None:
        return f"time: invalid duration {json.dumps(value)}"
    unit = re.match(r"[^\d.]*", value[number.end() :])
    assert unit
    problem = f"unknown unit {json.dumps(unit[0])}" if unit[0] else "missing unit"
    return f"time: {problem} in duration {json.dumps(value)}"


def _format_error(value: Any) -> str | None:
    if value in (None, "", "json") or isinstance(value, dict):
        return None
    quoted = json.dumps(json.dumps(value))
    return f'invalid format: {quoted}; expected "json" or a valid JSON Schema object'


_SCHEMA_TYPES = {"array", "boolean", "integer", "null", "number", "object", "string"}
_SCHEMA_ERROR = json.dumps(
    {
        "error": {
            "code": 400,
            "message": "Failed to initialize samplers: failed to parse grammar",
            "type": "invalid_request_error",
        }
    }
)


def _is_usable_schema(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_usable_schema, value))
    if not isinstance(value, dict):
        return True
    kinds = value.get("type", "object")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if "$ref" in value or not all(isinstance(k, str) and k in _SCHEMA_TYPES for k in kinds):
        return False
    below = [*(value.get("properties") or {}).values(), value.get("items"), value.get("anyOf")]
    return all(map(_is_usable_schema, below))


def _length_error(body: Body, tokens: int, limit: int) -> str | None:
    if body.get("truncate") is False:
        message = (
            f"request ({tokens} tokens) exceeds the available context size ({limit} tokens), "
            "try increasing it"
        )
        error = {
            "code": 400,
            "message": message,
            "type": "exceed_context_size_error",
            "n_prompt_tokens": tokens,
            "n_ctx": limit,
        }
        return json.dumps({"error": error})
    if body.get("shift") is False:
        return (
            "the prompt is longer than the context length currently available to the model; "
            "reduce the prompt length or increase num_ctx"
        )
    return None


def _cut(body: Body, limit: int) -> Body:
    """Return what the model reads: oldest messages dropped, and then the end of the rest."""
    messages = list(body.get("messages") or [])
    while _tokens({"messages": messages}) > limit:
        oldest = (at for at, each in enumerate(messages[:-1]) if each.get("role") != "system")
        if (at := next(oldest, None)) is None:
            break
        del messages[at]
    else:
        if messages:
            return {**body, "messages": messages}
    end = -4 * (limit // 2 + 1)
    if messages:
        last = {**messages[-1], "content": str(messages[-1].get("content") or "")[end:]}
        return {**body, "messages": [last]}
    return {**body, "prompt": str(body.get("prompt") or "")[end:]}


def _option_error(name: str, value: Any) -> str | None:
    kind, wanted = _json_kind(value), _OPTIONS.get(name)
    right = {"integer": "number", "float32": "number", "boolean": "bool", "array": "array"}
    if wanted is None or value is None:
        return None
    if kind != right[wanted]:
        return f'option "{name}" must be of type {wanted}'
    if wanted == "array" and not all(isinstance(item, str) for item in value):
        return f'option "{name}" must be of an array of strings'
    return None


def _syntax_error(raw: bytes, error: ValueError) -> str:
    text = raw.decode(errors="replace")
    at = min(getattr(error, "pos", 0), len(text))
    if at >= len(text.rstrip()) or "Unterminated" in str(error):
        return "unexpected EOF"
    return f"invalid character {text[at]!r} looking for beginning of value"


def _welcome(headers: Mapping[str, str]) -> bool:
    origin, host = headers.get("origin"), headers.get("host", "")
    if origin and not re.match(
        r"https?://(localhost|127\.0\.0\.1|0\.0\.0\.0)(:\d+)?$|(app|file|tauri|vscode-\w+)://",
        origin,
    ):
        return False
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    name = name.strip("[]").lower()
    if name in ("", "localhost", socket.gethostname().lower()):
        return True
    if name.endswith((".local", ".localhost", ".internal")):
        return True
    try:
        return ipaddress.ip_address(name).is_private
    except ValueError:
        return False


def _tagged(name: str) -> str:
    name = name.lower()
    return name if ":" in name.rsplit("/", 1)[-1] else f"{name}:latest"


def _taken(script: Script) -> Fault | None:
    if isinstance(script, list):
        return script.pop(0) if script else None
    return script


def _refuse(
    connection: "_Connection", fault: Status | NotPulled, body: Body, *, streamed: bool
) -> None:
    # Before the first line of a stream the content type has no charset, elsewhere it has.
    kind = "application/json" if streamed else "application/json; charset=utf-8"
    if isinstance(fault, NotPulled):
        model = body["model"]
        today, old = (
            f"model '{model}' not found",
            f'model "{model}" not found, try pulling it first',
        )
        connection.send(404, _encoded({"error": old if fault.old else today}))
    elif fault.page is not None:
        connection.send(fault.status, fault.page.encode(), "text/html")
    elif fault.error is None:
        connection.send(fault.status, b"", "")
    else:
        connection.send(fault.status, _encoded({"error": fault.error}), kind)


async def _break(connection: "_Connection", fault: Fault) -> None:
    if isinstance(fault, Abort):
        connection.cut(reset=fault.reset)
    elif isinstance(fault, EndWithoutDone):
        connection.cut()
    else:
        await asyncio.get_running_loop().create_future()


# -- what Ollama says ------------------------------------------------------------------


def _pieces(reply: Reply, body: Body) -> list[str]:
    said = reply(body) if callable(reply) else reply
    return re.findall(r"\s*\S+|\s+$", said) if isinstance(said, str) else list(said)


def _tokens(body: Body) -> int:
    texts = [message.get("content") or "" for message in body.get("messages") or []]
    return sum(map(len, [*texts, body.get("prompt") or ""])) // 4 + 1


def _loaded_reply(body: Body, empty: Body, reason: str) -> Body:
    begun = {"model": body["model"], "created_at": _now().decode(), **empty}
    return {**begun, "done": True, "done_reason": reason}


def _digest(name: str) -> str:
    return hashlib.sha256(_tagged(name).encode()).hexdigest()


def _described(name: str) -> dict[str, Any]:
    tagged = _tagged(name)
    details = {
        "parent_model": "",
        "format": "gguf",
        "family": tagged.split(":")[0],
        "families": [tagged.split(":")[0]],
        "parameter_size": "4.3B",
        "quantization_level": "Q4_K_M",
    }
    size = 3_338_801_804
    return {
        "name": tagged,
        "model": tagged,
        "size": size,
        "digest": _digest(tagged),
        "details": details,
    }


def embedding(text: str, dimension: int) -> list[float]:
    """Return a unit vector of ``dimension`` numbers, near those of texts with the same words.

    Words are hashed into signed buckets; a long word weighs more than a short one.
    """
    vector = [0.0] * dimension
    for word in re.findall(r"\w+", text.casefold()):
        hashed = zlib.crc32(word.encode(errors="replace"))
        vector[hashed // 2 % dimension] += len(word) if hashed & 1 else -len(word)
    if not any(vector):
        vector[0] = 1.0
    return _normalised(vector)


def _normalised(vector: Sequence[float]) -> list[float]:
    length = math.hypot(*vector) or 1.0
    return [number / length for number in vector]


def _encoded(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    # Go writes these three as escapes and everything else that is not ASCII as itself.
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode(errors="replace")


_quoted = lru_cache(maxsize=4096)(_encoded)


@lru_cache(maxsize=2)
def _second(seconds: int) -> bytes:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)).encode()


def _now() -> bytes:
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return b"%b.%09dZ" % (_second(seconds), nanoseconds)


class _Shape(NamedTuple):
    piece: bytes
    thought: bytes
    close: bytes


_CHAT = _Shape(
    b'"message":{"role":"assistant","content":',
    b'"message":{"role":"assistant","content":"","thinking":',
    b"}",
)
_GENERATE = _Shape(b'"response":', b'"response":"","thinking":', b"")


class _Sink(Protocol):
    async def piece(self, text: str, thought: bool) -> None: ...
    async def flush(self) -> None: ...
    async def error(self, text: str) -> None: ...
    async def end(self) -> None: ...
    async def final(self, counters: Mapping[str, Any]) -> None: ...


class _Stream:
    """NDJSON: one line a piece, each flushed, unless the script says otherwise."""

    def __init__(
        self, connection: "_Connection", model: str, shape: _Shape, standin: OllamaStandIn
    ) -> None:
        self._connection, self._standin, self._shape = connection, standin, shape
        self._head = b'{"model":' + _quoted(model) + b',"created_at":"'
        self._held: list[bytes] = []
        self._padding = standin.long_line

    async def piece(self, text: str, thought: bool) -> None:
        opening = self._shape.thought if thought else self._shape.piece
        extra = b""
        if self._padding:
            extra = b',"logprobs":[{"token":"%b","logprob":0}]' % (b"x" * self._padding)
            self._padding = 0
        await self._line(
            b'%b%b",%b%b%b,"done":false%b}\n'
            % (self._head, _now(), opening, _quoted(text), self._shape.close, extra)
        )

    async def error(self, text: str) -> None:
        await self._last(_encoded({"error": text}) + b"\n")

    async def final(self, counters: Mapping[str, Any]) -> None:
        rest = _encoded({"done": True, **counters})[1:]
        empty = self._shape.piece + b'""' + self._shape.close
        await self._last(b'%b%b",%b,%b\n' % (self._head, _now(), empty, rest))

    async def end(self) -> None:
        await self.flush()
        self._connection.end()

    async def _last(self, line: bytes) -> None:
        # Who leaves on reading this line, before the end of the response, has not left early.
        self._connection.ended = True
        await self._line(line)
        await self.end()

    async def _line(self, line: bytes) -> None:
        if self._standin.split_writes:
            for part in split_points(line):
                await self._connection.chunk(part)
                await asyncio.sleep(SPLIT_PAUSE)
        elif self._standin.coalesce > 1:
            self._held.append(line)
            if len(self._held) >= self._standin.coalesce:
                await self.flush()
        else:
            await self._connection.chunk(line)

    async def flush(self) -> None:
        held, self._held = self._held, []
        if held:
            await self._connection.chunk(*held)


class _Whole:
    """One JSON object, as ``"stream": false`` asks for."""

    def __init__(self, connection: "_Connection", model: str, shape: _Shape) -> None:
        self._connection, self._model, self._shape = connection, model, shape
        self._said: list[str] = []
        self._thought: list[str] = []

    async def piece(self, text: str, thought: bool) -> None:
        (self._thought if thought else self._said).append(text)

    async def flush(self) -> None:
        pass

    async def error(self, text: str) -> None:
        self._connection.send_json({"error": text}, 500)

    async def end(self) -> None:
        self._send({"done": False})

    async def final(self, counters: Mapping[str, Any]) -> None:
        self._send({"done": True, **counters})

    def _send(self, rest: Body) -> None:
        thinking = {"thinking": "".join(self._thought)} if self._thought else {}
        said = "".join(self._said)
        content: Body = (
            {"message": {"role": "assistant", "content": said, **thinking}}
            if self._shape is _CHAT
            else {"response": said, **thinking}
        )
        envelope = {"model": self._model, "created_at": _now().decode(), **content, **rest}
        self._connection.send_json(envelope)


def split_points(line: bytes) -> list[bytes]:
    """Cut ``line`` in the middle of its JSON, and inside its first character of several bytes."""
    cuts = {len(line) // 3}
    wide = next((at for at, byte in enumerate(line) if byte >= 0x80), None)
    if wide is not None:
        cuts.add(wide + 1)
    edges = [0, *sorted(cuts), len(line)]
    return [line[start:end] for start, end in pairwise(edges)]


# -- HTTP ------------------------------------------------------------------------------


class _Incoming(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    keep_alive: bool


class _Connection(asyncio.Protocol):
    """One client connection; no framework, so that cuts, splits and departures are real."""

    transport: asyncio.Transport

    def __init__(self, standin: OllamaStandIn) -> None:
        self.task: asyncio.Task[None] | None = None
        self.path, self.phase, self.pieces = "", "head", 0
        self._standin = standin
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[_Incoming] = deque()
        self._writable: asyncio.Future[None] | None = None
        self._method = "GET"
        self._keep_alive = True
        self._began = self.ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._standin._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._standin._connections.discard(self)
        self.resume_writing()
        if self.task is not None:
            if not self.ended:
                self._standin.left(self)
            self.task.cancel()

    def eof_received(self) -> None:
        # Go's server takes the end of the request stream for a departure, and so do we.
        if self.task is not None and not self.ended:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            if self.task is None:
                self.send(400, b"400 Bad Request", "text/plain; charset=utf-8")
            self.transport.close()

    def pause_writing(self) -> None:
        self._writable = asyncio.get_running_loop().create_future()
        self._standin.changed()

    def resume_writing(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    def on_message_begin(self) -> None:
        self._url, self._content = b"", bytearray()
        self._headers: dict[str, str] = {}

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._content += body

    def on_message_complete(self) -> None:
        incoming = _Incoming(
            self._parser.get_method().decode(),
            self._url.partition(b"?")[0].decode("latin-1"),
            self._headers,
            bytes(self._content),
            self._parser.should_keep_alive(),
        )
        self._standin.arrived(incoming)
        self._waiting.append(incoming)
        self._next()

    def _next(self) -> None:
        if self.task is None and self._waiting and not self.transport.is_closing():
            incoming = self._waiting.popleft()
            self.path, self.phase, self.pieces = incoming.path, "head", 0
            self._method, self._keep_alive = incoming.method, incoming.keep_alive
            self._began = self.ended = False
            loop = asyncio.get_running_loop()
            self.task = loop.create_task(self._standin._answer(self, incoming))
            self.task.add_done_callback(self._answered)

    def _answered(self, task: asyncio.Task[None]) -> None:
        self.task = None
        if not self._keep_alive:
            self.transport.close()
        self._next()

    def send(
        self,
        status: int,
        body: bytes,
        content_type: str = "application/json; charset=utf-8",
        extra: bytes = b"",
    ) -> None:
        """Write a whole response; ``extra`` are lines for its head."""
        self.ended = True
        head = _head(status, content_type, extra + b"Content-Length: %d" % len(body))
        self.transport.write(head if self._method == "HEAD" else head + body)

    def send_json(self, value: Any, status: int = 200) -> None:
        """Write ``value`` as a whole JSON response."""
        self.send(status, _encoded(value))

    async def chunk(self, *parts: bytes) -> None:
        """Write each part as an HTTP chunk, all in one TCP write; the first brings the head."""
        data = b"".join([b"%x\r\n%b\r\n" % (len(part), part) for part in parts])
        if not self._began:
            self._began = True
            data = _head(200, "application/x-ndjson", b"Transfer-Encoding: chunked") + data
        self.transport.write(data)
        if self._writable is not None:
            await self._writable

    def end(self) -> None:
        """Write the last chunk."""
        self.ended = True
        head = b""
        if not self._began:
            head = _head(200, "application/x-ndjson", b"Transfer-Encoding: chunked")
        self.transport.write(head + b"0\r\n\r\n")

    def cut(self, *, reset: bool = False) -> None:
        """Close the socket after what was written, or by a TCP reset; this is no departure."""
        self.ended = True
        if reset:
            raw = self.transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
        else:
            self.transport.close()

    def drop(self) -> None:
        """Close the socket at once and end the work behind it."""
        self.ended = True
        self.transport.abort()
        if self.task is not None:
            self.task.cancel()


def _head(status: int, content_type: str, framing: bytes) -> bytes:
    typed = f"Content-Type: {content_type}\r\n" if content_type else ""
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
    try:
        reason = HTTPStatus(status).phrase
    except ValueError:
        reason = "Unknown"
    head = f"HTTP/1.1 {status} {reason}\r\n{typed}Date: {date}\r\n"
    return head.encode() + framing + b"\r\n\r\n"


# -- the program -----------------------------------------------------------------------


def quote_passage(body: Body) -> str:
    """Answer with the first passage of the last message, or with that message itself."""
    messages = body.get("messages") or [{"content": body.get("prompt", "")}]
    last = str(messages[-1].get("content") or "")
    passage = re.search(r"<passage\b[^>]*>\s*(.*?)\s*</passage>", last, re.DOTALL)
    return passage[1] if passage else f"You said: {last}"


def _counted(pieces: int) -> list[str]:
    words = _pieces("The town library opens at nine and lends books, films and games.", {})
    return [words[at % len(words)] for at in range(pieces)]


async def _serve(arguments: argparse.Namespace) -> None:
    standin = OllamaStandIn(host=arguments.host, port=arguments.port)
    standin.reply = _counted(arguments.pieces) if arguments.pieces else quote_passage
    standin.piece_delay, standin.head_delay = arguments.piece_delay, arguments.head_delay
    standin.slots, standin.dimension = arguments.slots, arguments.dimension
    standin.record = False
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    await standin.start()
    print(standin.url, flush=True)
    await stopped.wait()
    await standin.kill()
    for text in dict.fromkeys(standin.misuse):
        print(f"misuse: {text}", file=sys.stderr)


def main() -> None:
    """Run the stand-in until SIGTERM; its address is the first line it prints."""
    parser = argparse.ArgumentParser(description="An Ollama stand-in for trials and benchmarks.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int)
    parser.add_argument("--pieces", type=int, default=0, help="say so many words to everything")
    parser.add_argument("--piece-delay", type=float, default=0.02, help="seconds")
    parser.add_argument("--head-delay", type=float, default=0.0, help="seconds")
    parser.add_argument("--slots", type=int, default=None)
    parser.add_argument("--dimension", type=int, default=64)
    arguments = parser.parse_args()
    try:
        import uvloop
    except ImportError:
        asyncio.run(_serve(arguments))
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(arguments))


if __name__ == "__main__":
    main()
