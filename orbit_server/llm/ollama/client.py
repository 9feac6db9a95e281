"""The client of one Ollama server: chats, whole replies, embeddings, what is installed."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Self

import aiohttp
import orjson

from ...errors import ModelBusy, ModelError, ModelInterrupted, ModelUnreachable, NotStarted
from ..installed import tagged
from ..protocols import Message
from ..retrying import retried
from .stream import ChatStream
from .wire import content, loads, refusal, translated


class Model(NamedTuple):
    """A model of one host: its name with the tag, and the digest of its files, "" if unknown."""

    name: str
    digest: str = ""


class Ollama:
    """A client of one Ollama server. Opens its one HTTP session in ``async with``.

    ``options`` are sent with every chat, so that all callers of a model agree on those that would
    make Ollama load it again (``num_ctx``, ``num_thread``). ``connect_timeout`` and
    ``read_timeout`` are seconds; the latter is the longest silence allowed, model loading included.
    There is no limit on the whole. A full queue, and a connection that is refused or reset before
    the first byte, are tried again ``retries`` times, the first time after about ``retry_delay``
    seconds; nothing else is. ``headers`` go with every request and are secrets: a redirect, which
    could carry them elsewhere, is not followed. ``proxy`` is the URL of an HTTP proxy on the way.
    """

    def __init__(
        self,
        base_url: str,
        *,
        options: Mapping[str, Any] | None = None,
        keep_alive: str | float = "10m",
        think: bool | str = False,
        connect_timeout: float = 3.0,
        read_timeout: float = 300.0,
        retries: int = 2,
        retry_delay: float = 0.1,
        headers: Mapping[str, str] | None = None,
        proxy: str | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.options = dict(options or {})
        self.keep_alive = keep_alive
        self.think = think
        self.read_timeout = read_timeout
        self._connect_timeout = connect_timeout
        self._headers, self._proxy = dict(headers or {}), proxy
        self._retries, self._retry_delay = retries, retry_delay
        self._session: aiohttp.ClientSession | None = None
        self._unthinking: set[str] = set()

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            # Every stream holds a connection; aiohttp's default of 100 would make the 101st wait.
            connector=aiohttp.TCPConnector(limit=0),
            # Each request would look for cookies that fit it; Ollama has none.
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={**self._headers, "Content-Type": "application/json"},
            timeout=self._limits(self.read_timeout),
            proxy=self._proxy,
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def chat(
        self,
        messages: Sequence[Message],
        *,
        model: str,
        options: Mapping[str, Any] | None = None,
        request_id: str | None = None,
        conversation: str | None = None,
        retries: int | None = None,
        first_timeout: float | None = None,
    ) -> ChatStream:
        """Return the stream of a reply to ``messages``; nothing is sent before it is opened.

        ``options`` and ``retries`` override the client's own. ``first_timeout`` is how many seconds
        the beginning of the reply may take, where that is less than any other silence.
        ``conversation`` means nothing to a single host.
        """
        body = self._chat_body(messages, model, {**self.options, **(options or {})})
        silence = min(self.read_timeout, first_timeout or self.read_timeout)
        return ChatStream(
            partial(self.request, "/api/chat", body, request_id, retries=retries, silence=silence),
            model=model,
            base_url=self.base_url,
            first_timeout=silence,
            read_timeout=self.read_timeout,
        )

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
        silence: float | None = None,
    ) -> str:
        """Return the whole text of one reply; ``options`` override the client's own.

        ``format`` is ``"json"`` or a JSON schema. ``retries`` overrides the client's, 0 for callers
        that try again themselves; ``silence`` its ``read_timeout``. Raises the ``ModelError``
        family.
        """
        body = self._chat_body(messages, model, {**self.options, **(options or {})})
        body["stream"] = False
        if format is not None:
            body["format"] = format
        if think is not None and model not in self._unthinking:
            body["think"] = think
        reply = await self._post("/api/chat", body, request_id, retries=retries, silence=silence)
        if not reply.get("done"):
            raise ModelInterrupted(f"{model} ended its reply without done")
        return content(reply)

    async def embed(
        self,
        texts: Sequence[str],
        *,
        model: str,
        request_id: str | None = None,
        digest: str | None = None,
        retries: int | None = None,
        silence: float | None = None,
    ) -> list[list[float]]:
        """Return one L2-normalised vector a text, in order. Raises the ``ModelError`` family.

        ``retries`` and ``silence`` override the client's own. ``digest`` means nothing to a single
        host, which has one model of a name.
        """
        body: dict[str, Any] = {"model": model, "input": list(texts)}
        body["keep_alive"] = self.keep_alive
        if "num_thread" in self.options:  # the only one that is about the machine
            body["options"] = {"num_thread": self.options["num_thread"]}
        reply = await self._post("/api/embed", body, request_id, retries=retries, silence=silence)
        vectors = reply.get("embeddings")
        if not isinstance(vectors, list) or len(vectors) != len(texts):
            raise ModelError(f"{model} returned no vector for some of {len(texts)} texts")
        return vectors

    async def models(self) -> list[str]:
        """Return the names of the installed models, each with its tag."""
        return [model.name for model in await self.installed()]

    async def installed(self) -> list[Model]:
        """Return the installed models."""
        return await self._listed("/api/tags")

    async def loaded(self) -> list[Model]:
        """Return the models that are in memory now."""
        return await self._listed("/api/ps")

    async def digest(self, model: str) -> str | None:
        """Return the digest of ``model``, ``None`` where it is not installed or tells none."""
        found = (each.digest for each in await self.installed() if each.name == tagged(model))
        return next(found, None) or None

    async def version(self) -> str:
        """Return the server's version, e.g. ``0.32.15``."""
        return str((await self._get("/api/version")).get("version", ""))

    async def _listed(self, path: str) -> list[Model]:
        listed = (await self._get(path)).get("models") or []
        try:
            return [Model(str(each["name"]), str(each.get("digest") or "")) for each in listed]
        except (TypeError, LookupError, AttributeError) as error:
            raise ModelError("Ollama lists its models in an unknown format") from error

    def _limits(self, silence: float) -> aiohttp.ClientTimeout:
        return aiohttp.ClientTimeout(
            total=None, sock_connect=self._connect_timeout, sock_read=silence
        )

    def _chat_body(
        self, messages: Sequence[Message], model: str, options: Mapping[str, Any]
    ) -> dict[str, Any]:
        body = {
            "model": model,
            "messages": list(messages),
            "stream": True,
            "options": dict(options),
            "keep_alive": self.keep_alive,
        }
        if model not in self._unthinking:
            body["think"] = self.think
        return body

    async def _get(self, path: str) -> dict[str, Any]:
        with translated(self.base_url):
            async with self._open().get(
                self.base_url + path, allow_redirects=not self._headers
            ) as response:
                if response.status != 200:
                    raise refusal(response.status, await response.read(), path)
                return loads(await response.read())

    async def _post(
        self,
        path: str,
        body: dict[str, Any],
        request_id: str | None = None,
        *,
        retries: int | None = None,
        silence: float | None = None,
    ) -> dict[str, Any]:
        response = await self.request(path, body, request_id, retries=retries, silence=silence)
        try:
            with translated(self.base_url):
                return loads(await response.read())
        finally:
            if response.content.at_eof():
                response.release()
            else:
                response.close()

    async def request(
        self,
        path: str,
        body: dict[str, Any],
        request_id: str | None,
        *,
        retries: int | None = None,
        silence: float | None = None,
    ) -> aiohttp.ClientResponse:
        """Post ``body`` and return the response once its status is 200."""
        return await retried(
            partial(self._request, path, body, request_id, silence or self.read_timeout),
            retries=self._retries if retries is None else retries,
            delay=self._retry_delay,
            worthwhile=lambda failure: isinstance(failure, ModelBusy | ModelUnreachable),
        )

    async def _request(
        self, path: str, body: dict[str, Any], request_id: str | None, silence: float
    ) -> aiohttp.ClientResponse:
        headers = {"X-Request-ID": request_id} if request_id else None
        with translated(self.base_url):
            response = await self._open().post(
                self.base_url + path,
                data=orjson.dumps(body),
                headers=headers,
                timeout=self._limits(silence),
                allow_redirects=not self._headers,
            )
            if response.status == 200:
                return response
            try:
                text = await response.read()
            finally:
                response.close()
        if response.status == 400 and b"does not support thinking" in text and "think" in body:
            # Some versions refuse the bare word "think" from a model that cannot.
            self._unthinking.add(body["model"])
            del body["think"]
            return await self._request(path, body, request_id, silence)
        raise refusal(response.status, text, str(body["model"]))

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise NotStarted("the Ollama client is used outside of its lifespan")
        return self._session
