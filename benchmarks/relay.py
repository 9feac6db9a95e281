"""The yardstick: the least that any server between a client and Ollama must do.

A raw ASGI application on the same uvicorn, uvloop, httptools and aiohttp as the product. It posts
the body it gets to ``/api/chat`` and relays the bytes of the reply unread: no key, no search, no
log, no events.

    python -m benchmarks.relay --port 3001 --model http://127.0.0.1:11434
"""

import argparse

import aiohttp
import uvicorn
from starlette.types import Receive, Scope, Send


class Relay:
    """An ASGI application that relays every request to ``url``; ``GET`` is answered at once."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.session: aiohttp.ClientSession | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.live(receive, send)
        elif scope["method"] == "GET":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body"})
        else:
            await self.relay(receive, send)

    async def live(self, receive: Receive, send: Send) -> None:
        await receive()
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(
            connector=connector, timeout=aiohttp.ClientTimeout(total=None)
        ) as self.session:
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def relay(self, receive: Receive, send: Send) -> None:
        assert self.session is not None
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        async with self.session.post(self.url, data=body) as reply:
            kind = reply.headers["Content-Type"].encode()
            await send(
                {
                    "type": "http.response.start",
                    "status": reply.status,
                    "headers": [(b"content-type", kind)],
                }
            )
            async for data in reply.content.iter_any():
                await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body"})


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description="A byte relay in front of Ollama's /api/chat.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", required=True, help="URL of Ollama or its stand-in")
    options = parser.parse_args()
    uvicorn.run(
        Relay(options.model + "/api/chat"),
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
