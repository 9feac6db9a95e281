"""Serving in several processes: what the supervisor is given, and what each worker runs."""

import contextlib
import logging
import signal
import socket
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from .. import llm
from ..auth.limits import memory_limiter
from ..auth.shared_limiter import limiter_at
from ..config.loader import Config, load
from ..config.schema import ChromaConfig
from ..errors import ConfigError
from ..observability import logging as logs
from ..observability.metrics import shared_by_workers
from ..safety import read_rules
from .chroma_child import HOST, LocalChroma
from .exit import exit_on_error
from .process import Accepted, LoadConfig, load_certificate, run_loop, serve
from .reload import taken_over
from .sockets import address, listening, raise_open_file_limit
from .supervisor import Supervisor
from .systemd import SystemdNotifier
from .worker_link import BEAT, READY, Parent
from .worker_slot import SILENCE_SECONDS, Work

logger = logging.getLogger(__name__)


def run_workers(
    config: Config,
    count: int,
    path: Path | None,
    overrides: Mapping[str, Any],
    *,
    silence_seconds: float = SILENCE_SECONDS,
) -> int:
    """Serve ``config`` in ``count`` processes until a signal comes; the exit code.

    The configuration is read again from ``path`` with ``overrides``. Where Chroma would run in
    process, the workers share a Chroma server that is started for them. A worker that is silent for
    ``silence_seconds`` is replaced.
    """
    notifier = SystemdNotifier()

    def stop_early(number: int, frame: FrameType | None) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, stop_early)  # until the supervisor handles it
    with contextlib.ExitStack() as stack:
        # Read here too: a mistake is said once, and later workers get what the others work with.
        certificate = load_certificate(config)
        rules = read_rules(config.safety)
        limits = stack.enter_context(shared_by_workers()) / "limits"
        stack.enter_context(limiter_at(limits, memory_limiter))
        if config.limits.storage == "memory":
            logger.info("this process counts the limits of keys, for all workers together")
        sockets = stack.enter_context(listening(config))
        chroma = None
        if config.chroma.host is None:
            folder = Path(config.logging.file.directory)
            log = folder / "chroma.log" if config.logging.file.enabled else None
            documents = Path(config.chroma.path)
            chroma = stack.enter_context(LocalChroma(documents, address=address(config), log=log))
            overrides = {**overrides, **chroma_overrides(chroma)}
        load_config: LoadConfig = partial(load, path, overrides=overrides)
        config = load_config()
        most = llm.places(config.ollama, count)
        if config.answer.provider == "ollama" and most:
            logger.info("each worker sends Ollama at most %d answers at the same time", most)

        def ready() -> None:
            notifier.notify("READY=1")
            url = address(config)
            print(f"ORBIT server answers at {url}, with {count} workers", flush=True)

        def reload() -> None:
            nonlocal config, rules
            with contextlib.suppress(ConfigError):  # which the workers log
                wanted = taken_over(config, load_config())
                read = read_rules(wanted.safety)
                config, rules = wanted, read
                logs.set_level(config)

        def alive() -> None:
            notifier.alive()
            if certificate is not None:
                certificate.poll(quiet=True)  # the workers log it

        def next_work() -> Work:
            pair = certificate.accepted if certificate else None
            return partial(
                run_worker, Accepted(config, rules, pair, workers=count, limits=limits), load_config
            )

        supervisor = Supervisor(
            count,
            next_work,
            sockets,
            chroma=chroma,
            drain=config.general.drain_seconds,
            ready=ready,
            alive=alive,
            stopping=partial(notifier.notify, "STOPPING=1"),
            reload=reload,
            silence_seconds=silence_seconds,
        )
        return supervisor.run()


def run_worker(
    accepted: Accepted,
    load_config: LoadConfig,
    number: int,
    channel: socket.socket,
    sockets: Sequence[socket.socket],
) -> None:
    """Be worker ``number``: serve on ``sockets`` until the parent stops it through ``channel``.

    Ends the process as ``orbit serve`` does.
    """
    with exit_on_error():
        logs.configure(accepted.config, worker=number)
        raise_open_file_limit()
        parent = Parent(channel)

        def ready(banner: str) -> None:
            parent.send(READY)

        alive = partial(parent.send, BEAT)
        raise SystemExit(
            run_loop(serve(accepted, load_config, sockets, ready=ready, alive=alive, parent=parent))
        )


def chroma_overrides(chroma: LocalChroma) -> dict[str, Any]:
    """Return the overrides with which a worker finds ``chroma``, whatever else is configured."""
    plain = {name: info.default for name, info in ChromaConfig.model_fields.items()}
    elsewhere = {f"chroma.{name}": plain[name] for name in ("ssl", "tenant", "database")}
    found = {"chroma.host": HOST, "chroma.port": chroma.port, "chroma.headers": {}}
    return elsewhere | found
