"""What a run is made of: a folder, loaded passages, and the processes that are measured.

Everything listens on loopback. Where Chroma is a server of its own, it is nobody's child but this
program's, so that it never counts as part of what asks it.
"""

import json
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orbit_server.config.loader import load
from orbit_server.documents.model import Chunk
from orbit_server.retrieval.embedders import OllamaEmbedder
from orbit_server.services import Services
from tests.support.ollama_standin import embedding
from tests.support.ports import free_port

from .load import Job
from .model import DIMENSION
from .passages import Pair, pairs, questions
from .processes import ROOT, Process, running

COLLECTION = "benchmark"
Settings = Mapping[str, dict[str, Any]]
_NOTHING: Settings = {}
_BATCH = 2000


@dataclass(frozen=True, slots=True)
class Target:
    """Something to load: a running process and how it is asked, one of ``_WORDS``."""

    name: str
    speaks: str
    process: Process
    passages: int = 1000
    key: str = ""

    def job(self, length: int, *, seed: int, stream: bool = True, **load: Any) -> Job:
        """Return a job that has questions answered in ``length`` words each."""
        path, piece, last = _WORDS[self.speaks, stream]
        asked = questions(2000, length, about=self.passages, seed=seed)
        return Job(
            port=self.process.port,
            path=path,
            headers={"X-API-Key": self.key} if self.key else {},
            bodies=[json.dumps(_body(self.speaks, text, stream)) for text in asked],
            tokens=length,
            pieces=length if stream else 1,
            piece=piece if stream else f"{piece}{length}",
            last=last,
            **load,
        )


# How an answer is asked for, what stands in it once a token (of a whole one: before the number of
# its tokens), and what stands in it once.
_WORDS = {
    ("relay", True): ("/", '"done":false', '"done":true'),
    ("relay", False): ("/", '"eval_count":', '"done":true'),
    ("plain", True): ("/chat", '"done": false', '"done": true'),
    ("plain", False): ("/chat", '"completion_tokens":', '"response":'),
    ("chat", True): ("/chat", '"done": false', '"finish_reason":"stop"'),
    ("chat", False): ("/chat", '"completion_tokens":', '"finish_reason":"stop"'),
    ("v1", True): ("/v1/chat/completions", '"delta":{"content":', '"finish_reason":"stop"'),
}


def _body(speaks: str, question: str, stream: bool) -> dict[str, Any]:
    messages = [{"role": "user", "content": question}]
    if speaks == "relay":
        # As the server says it: another num_ctx would load the model again.
        chat = {"model": "gemma3:4b", "messages": messages, "options": {"num_ctx": 8192}}
        return {**chat, "stream": stream}
    if speaks == "v1":
        return {"model": COLLECTION, "messages": messages, "stream": stream}
    return {"message": question, "stream": stream}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A folder with ``count`` passages in Chroma, the words beside them, and a key for them."""

    folder: Path
    count: int
    key: str


class Stage:
    """The folder and the ports of one run; what is in ``folder`` already is not loaded again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model_port = free_port()
        self.model_url = f"http://127.0.0.1:{self.model_port}"

    async def load(self, count: int) -> tuple[Loaded, float, float]:
        """Load ``count`` passages; also return the seconds it took, and those of the processor."""
        folder = self.folder / str(count)
        known = folder / "key"
        if known.exists():
            return Loaded(folder, count, known.read_text()), 0.0, 0.0
        folder.mkdir(parents=True)
        config = self._config(folder, free_port())
        began, cpu = time.perf_counter(), time.process_time()
        services = Services(load(config, environ={}))
        services.chroma.answers_meanwhile = False  # as for `orbit ingest` without a server
        async with services:
            services.store.embedder = OllamaEmbedder(
                _embedded, model=services.embedder.model, batch_size=500, concurrency=1
            )
            batch: list[Chunk] = []
            for number, pair in enumerate(pairs(count)):
                batch.append(_chunk(number, pair))
                if len(batch) == _BATCH:
                    await services.store.put(COLLECTION, batch, [])
                    batch = []
            if batch:
                await services.store.put(COLLECTION, batch, [])
            await services.store.put(COLLECTION, [], [])  # the end of a load
            _, key = await services.keys.create(COLLECTION, "benchmark")
        known.write_text(key)
        return (
            Loaded(folder, count, key),
            time.perf_counter() - began,
            time.process_time() - cpu,
        )

    def copy(self, loaded: Loaded, name: str) -> Loaded:
        """Return a copy, since a folder of Chroma belongs to one process."""
        folder = self.folder / f"{loaded.count}-{name}"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(loaded.folder, folder)
        return Loaded(folder, loaded.count, loaded.key)

    def model(
        self, piece_delay: float, *, first: float = 0.0005, gaps: Path | None = None
    ) -> AbstractContextManager[Process]:
        more = [] if gaps is None else ["--gaps", str(gaps)]
        return running(
            *(sys.executable, "-m", "benchmarks.model", "--port", str(self.model_port)),
            *("--piece-delay", str(piece_delay), "--first", str(first), *more),
            port=self.model_port,
        )

    @contextmanager
    def chroma(self, loaded: Loaded) -> Iterator[Process]:
        """Run Chroma's own server on the passages."""
        port = free_port()
        program = str(Path(sys.executable).with_name("chroma"))
        at = ("--host", "127.0.0.1", "--port", str(port))
        command = (program, "run", "--path", str(loaded.folder / "chroma"), *at)
        with running(*command, port=port, path="/api/v2/heartbeat") as process:
            yield process

    @contextmanager
    def relay(self) -> Iterator[Target]:
        port = free_port()
        module = (sys.executable, "-m", "benchmarks.relay")
        with running(*module, "--port", str(port), "--model", self.model_url, port=port) as process:
            yield Target("relay", "relay", process)

    @contextmanager
    def plain(self, loaded: Loaded, chroma: int | None = None) -> Iterator[Target]:
        """Run the plain server, with Chroma in process unless ``chroma`` is a server's port."""
        port = free_port()
        where = (
            ("--chroma-path", str(loaded.folder / "chroma"))
            if chroma is None
            else ("--chroma-url", f"http://127.0.0.1:{chroma}")
        )
        command = (
            *(sys.executable, "-m", "benchmarks.plain", "--port", str(port)),
            *("--model", self.model_url, "--key", loaded.key, "--collection", COLLECTION),
            *("--log", str(loaded.folder / "plain.log"), *where),
        )
        with running(*command, port=port) as process:
            yield Target(f"plain{_apart(chroma)}", "plain", process, loaded.count, loaded.key)

    @contextmanager
    def server(
        self, loaded: Loaded, chroma: int | None = None, shared: Settings = _NOTHING
    ) -> Iterator[Target]:
        """Run the product, with Chroma in process unless ``chroma`` is a server's port.

        ``shared`` are sections of its configuration that replace those of a server alone.
        """
        port = free_port()
        config = self._config(loaded.folder, port, chroma, shared)
        command = (sys.executable, str(ROOT / "run.py"), "--config", str(config))
        with running(*command, port=port, path="/health") as process:
            yield Target(f"server{_apart(chroma)}", "chat", process, loaded.count, loaded.key)

    def _config(
        self,
        folder: Path,
        port: int,
        chroma: int | None = None,
        shared: Settings = _NOTHING,
    ) -> Path:
        apart: dict[str, Any] = {} if chroma is None else {"host": "127.0.0.1", "port": chroma}
        settings: dict[str, dict[str, Any]] = {
            "general": {"host": "127.0.0.1", "port": port},
            "logging": {
                "console": {"enabled": False},
                "file": {"directory": str(folder / f"logs{_apart(chroma)}")},
            },
            # Every question is answered from five passages, as by the plain server.
            "chroma": {
                "path": str(folder / "chroma"),
                **apart,
                "confidence_threshold": 0,
                "relevance_threshold": 0,
            },
            "retrieval": {"path": str(folder / "words")},
            "database": {"url": f"sqlite+aiosqlite:///{folder}/orbit.db"},
            "ollama": {"base_url": self.model_url, "concurrency": 0},
            "openai": {"sources": "field"},
            **shared,
        }
        path = folder / f"config{_apart(chroma)}.yaml"
        path.write_text(json.dumps(settings))  # JSON is YAML
        return path


def _apart(chroma: int | None) -> str:
    return "" if chroma is None else " + Chroma"


def _chunk(number: int, pair: Pair) -> Chunk:
    question, answer = pair.question, pair.answer
    place: dict[str, Any] = {"source": "pairs.json", "title": question, "position": number}
    return Chunk.of(question, answer, {**place, "question": question, "answer": answer})


async def _embedded(texts: Any, *, model: str) -> list[list[float]]:
    return [embedding(text, DIMENSION) for text in texts]
