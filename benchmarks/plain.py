"""The second yardstick: the plainest server by hand that does what the product is for.

Starlette on the same uvicorn, uvloop, httptools and aiohttp. It checks a key, lets Ollama embed the
question, asks Chroma once (in process, or a Chroma server over HTTP), writes a prompt, streams the
model's words as events or returns them whole, and appends a line to a log. Nothing else: no search
by words, no thresholds, no limits; no client leaves, and no end must not look whole.

    python -m benchmarks.plain --port 3002 --model http://127.0.0.1:11434 --key K --log FILE
        --collection C (--chroma-url http://127.0.0.1:8000 | --chroma-path FOLDER)
"""

import argparse
import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

PASSAGES = 5
OPTIONS = {"num_ctx": 8192}
INCLUDE = ["documents", "metadatas", "distances"]
DATABASE = "/api/v2/tenants/default_tenant/databases/default_database/collections"
SYSTEM = "Answer only from the passages, briefly. If they do not say it, say that you do not know."


class Plain:
    """The server: ``options`` as on the command line."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.keys = {hashlib.sha256(options.key.encode()).hexdigest(): options.collection}
        self.app = Starlette(
            routes=[Route("/", self.alive), Route("/chat", self.chat, methods=["POST"])],
            lifespan=self.live,
        )

    @asynccontextmanager
    async def live(self, _: Starlette) -> AsyncIterator[None]:
        connector = aiohttp.TCPConnector(limit=0)
        with self.options.log.open("ab", buffering=0) as self.log:
            async with aiohttp.ClientSession(connector=connector) as self.http:
                await self.find_collection()
                yield

    async def find_collection(self) -> None:
        name = self.options.collection
        if self.options.chroma_path is not None:
            import chromadb
            from chromadb.config import Settings

            settings = Settings(anonymized_telemetry=False)
            client = chromadb.PersistentClient(self.options.chroma_path, settings)
            self.collection = client.get_collection(name, embedding_function=None)
        else:
            base = self.options.chroma_url + DATABASE
            async with self.http.get(f"{base}/{name}") as reply:
                self.query_url = f"{base}/{(await reply.json())['id']}/query"

    async def alive(self, _: Request) -> Response:
        return Response("alive")

    async def post(self, url: str, body: dict[str, Any]) -> Any:
        async with self.http.post(url, data=orjson.dumps(body), headers=JSON) as reply:
            return orjson.loads(await reply.read())

    async def passages(self, question: str) -> list[str]:
        body = {"model": "bge-m3", "input": [question]}
        vectors = (await self.post(self.options.model + "/api/embed", body))["embeddings"]
        if self.options.chroma_path is not None:
            query: Any = self.collection.query
            found = await asyncio.to_thread(query, vectors, n_results=PASSAGES, include=INCLUDE)
        else:
            asked = {"query_embeddings": vectors, "n_results": PASSAGES, "include": INCLUDE}
            found = await self.post(self.query_url, asked)
        documents: list[str] = found["documents"][0]
        return documents

    async def chat(self, request: Request) -> Response:
        began = time.perf_counter()
        key = hashlib.sha256(request.headers.get("x-api-key", "").encode()).hexdigest()
        if key not in self.keys:
            return Response(b'{"detail":"no such key"}', 401)
        asked = orjson.loads(await request.body())
        question = asked["message"]
        passages = await self.passages(question)
        context = "\n".join(f"[{n}] {text}" for n, text in enumerate(passages, 1))
        messages = [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": f"{context}\n\nQuestion: {question}"},
        ]
        words = self.words({"model": "gemma3:4b", "messages": messages, "options": OPTIONS})

        async def events() -> AsyncIterator[bytes]:
            said = []
            async for word in words:
                said.append(word)
                yield b'data: {"text": ' + orjson.dumps(word) + b', "done": false}\n\n'
            self.write(question, said, began)
            yield b'data: {"text": "", "done": true}\n\n'

        if asked.get("stream", True):
            return StreamingResponse(events(), media_type="text/event-stream")
        said = [word async for word in words]
        self.write(question, said, began)
        body = {"response": "".join(said), "usage": {"completion_tokens": len(said)}}
        return Response(orjson.dumps(body), media_type="application/json")

    async def words(self, body: dict[str, Any]) -> AsyncIterator[str]:
        url = self.options.model + "/api/chat"
        async with self.http.post(url, data=orjson.dumps(body), headers=JSON) as reply:
            async for line in reply.content:
                if word := orjson.loads(line)["message"]["content"]:
                    yield word

    def write(self, question: str, said: list[str], began: float) -> None:
        milliseconds = round((time.perf_counter() - began) * 1000, 1)
        record = {"time": time.time(), "query": question, "response": "".join(said)}
        self.log.write(orjson.dumps(record | {"ms": milliseconds}) + b"\n")


JSON = {"Content-Type": "application/json"}


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description="The plainest chat server from documents.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", required=True, help="URL of Ollama or its stand-in")
    parser.add_argument("--key", required=True, help="the one that is let in")
    parser.add_argument("--collection", required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--chroma-url", help="URL of a Chroma server")
    parser.add_argument("--chroma-path", help="folder of a Chroma in process")
    options = parser.parse_args()
    uvicorn.run(
        Plain(options).app,
        host="127.0.0.1",
        port=options.port,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        log_config=None,
        loop="uvloop",
        http="httptools",
    )


if __name__ == "__main__":
    main()
