"""``orbit serve``: the options of the server, and which way of serving they mean."""

import logging
import os
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from .options import ConfigFile

logger = logging.getLogger(__name__)

MOST_WORKERS = 256


def serve(
    context: typer.Context,
    host: Annotated[
        str | None,
        typer.Option(help="Address to listen on (default: general.host).", metavar="HOST"),
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on (default: general.port).", metavar="PORT")
    ] = None,
    workers: Annotated[
        int, typer.Option(help="Worker processes.", metavar="N", min=1, max=MOST_WORKERS)
    ] = 1,
    reload: Annotated[
        bool, typer.Option("--reload", help="Restart when the code changes.")
    ] = False,
    demo: Annotated[
        bool, typer.Option("--demo", help="Answer from sample documents, with or without Ollama.")
    ] = False,
    config: ConfigFile = None,
    directory: Annotated[
        Path | None,
        typer.Option(
            help="Run in this folder, with its config.yaml, data/ and logs/ (default: here).",
            metavar="DIR",
            exists=True,
            file_okay=False,
        ),
    ] = None,
) -> None:
    """Start the server; it runs until Ctrl-C or SIGTERM.

    The exit code is 0 after a normal stop, 1 if a port, the database or Chroma cannot be opened, 2
    for a wrong option or configuration, and 130 or 143 after a second signal.
    """
    if demo and (workers > 1 or reload):
        raise typer.BadParameter("goes with neither --workers nor --reload", param_hint="--demo")
    if reload and workers > 1:
        raise typer.BadParameter("goes with one worker", param_hint="--reload")
    path: Path | None = config or context.obj
    if directory is not None:
        path = path and path.absolute()  # it is named from where the command was typed
        os.chdir(directory)
    given = {"general.host": host, "general.port": port}
    overrides = {key: value for key, value in given.items() if value is not None}

    from ..server.exit import exit_on_error

    with exit_on_error():
        raise SystemExit(_serve(path, overrides, workers=workers, reload=reload, demo=demo))


def _serve(
    path: Path | None, overrides: dict[str, Any], *, workers: int, reload: bool, demo: bool
) -> int:
    """Serve in this process, in workers, or in one that restarts; the exit code."""
    from ..config.loader import load
    from ..observability import logging as logs
    from ..server.process import LoadConfig, Prepare, run
    from ..server.sockets import raise_open_file_limit

    load_config: LoadConfig = partial(load, path, overrides=overrides)
    prepare: Prepare
    if demo:
        from . import demo as town  # what loads documents need not be loaded to answer

        config, prepare = town.configure(path, overrides), town.prepare
        load_config = lambda: config  # noqa: E731
    else:
        from . import first_steps

        config, prepare = load_config(), first_steps.banner
    logs.configure(config)
    for warning in config.warnings:
        logger.warning("%s", warning)
    if not config.safety.active:
        logger.info("questions are answered unchecked: the safety check is switched off")
    raise_open_file_limit()
    if reload:
        from ..server.reloading import run_reloading

        run_reloading(config, path)
        return 0
    if workers > 1:
        from ..server.worker import run_workers

        return run_workers(config, workers, path, overrides)
    return run(config, load_config, prepare)
