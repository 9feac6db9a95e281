"""``orbit serve --reload``: a process that is restarted when the code changes."""

import os
import signal
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from ..app import create_app
from ..config.loader import Config, load
from ..observability import logging as logs
from ..services import Services
from .process import load_certificate
from .sockets import address, listening
from .uvicorn_server import uvicorn_settings


def run_reloading(config: Config, path: Path | None) -> None:
    """Let uvicorn run the server in a process that it restarts when the code changes."""
    from uvicorn.supervisors import ChangeReload  # loads what watches files

    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # it ends with the terminal it belongs to
    if path is not None:
        os.environ["ORBIT_CONFIG"] = str(path.resolve())
    os.environ["ORBIT_ADDRESS"] = address(config)
    load_certificate(config)
    general = config.general
    settings = uvicorn_settings(config)
    if general.https.enabled:
        settings |= {
            "ssl_certfile": general.https.cert_file,
            "ssl_keyfile": general.https.key_file,
        }
    reloading = uvicorn.Config(
        "orbit_server.server.reloading:create", factory=True, reload=True, **settings
    )
    with listening(config, redirecting=False) as [listener]:
        ChangeReload(reloading, uvicorn.Server(reloading).run, [listener]).run()


def create() -> Starlette:
    """Make the application in the process that uvicorn started for ``--reload``."""
    config = load()
    logs.configure(config)
    return create_app(services=Services(config, address=os.environ.get("ORBIT_ADDRESS")))
