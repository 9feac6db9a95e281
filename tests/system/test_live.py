"""The same promises against a real Ollama: OLLAMA_URL, OLLAMA_MODEL, OLLAMA_EMBED_MODEL."""

import math
import os
from collections.abc import AsyncIterator

import pytest

from orbit_server.errors import ModelNotFound
from orbit_server.llm.ollama import Ollama

URL = os.environ.get("OLLAMA_URL", "")
MODEL = os.environ.get("OLLAMA_MODEL", "gemma3:4b")
EMBED_MODEL = os.environ.get("OLLAMA_EMBED_MODEL", "bge-m3")

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.live,
    pytest.mark.skipif(not URL, reason="needs OLLAMA_URL: a running Ollama"),
]

ASKED = [{"role": "user", "content": "Reply with the word yes."}]


@pytest.fixture
async def ollama() -> AsyncIterator[Ollama]:
    """The client of the real server, with options that keep replies short."""
    async with Ollama(URL, options={"num_ctx": 2048, "num_predict": 32}) as client:
        yield client


async def test_a_reply_is_streamed_to_its_end(ollama: Ollama) -> None:
    """Pieces come, then counts; the stream knows that it is complete."""
    async with ollama.chat(ASKED, model=MODEL) as stream:
        text = "".join([piece async for pieces in stream for piece in pieces])
    assert text
    assert stream.usage["completion_tokens"] > 0
    assert stream.finish_reason in ("stop", "length")


async def test_a_whole_reply(ollama: Ollama) -> None:
    """The blocking form gives the text."""
    assert await ollama.complete(ASKED, model=MODEL)


async def test_vectors_have_length_one_and_keep_their_order(ollama: Ollama) -> None:
    """The same text has the same vector wherever it stands."""
    first, second, again = await ollama.embed(["library", "dog tax", "library"], model=EMBED_MODEL)
    assert math.isclose(math.hypot(*first), 1, abs_tol=1e-3)
    near = sum(a * b for a, b in zip(first, again, strict=True))
    far = sum(a * b for a, b in zip(first, second, strict=True))
    assert near > 0.999 > far


async def test_a_model_that_is_not_there(ollama: Ollama) -> None:
    """It is told apart from everything else."""
    with pytest.raises(ModelNotFound):
        await ollama.complete(ASKED, model="no-such-model-here")


async def test_what_is_installed(ollama: Ollama) -> None:
    """Names carry a tag; the version is a number."""
    assert all(":" in name for name in await ollama.models())
    assert (await ollama.version())[0].isdigit()
