"""The server's own log, for the operator: on the console and in ``server.log``."""

import logging
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path

from pythonjsonlogger.json import JsonFormatter

from ..config import make_private_folder
from ..config.loader import Config

_FIELDS = ["asctime", "levelname", "name", "message"]
_MEGABYTES = 20 * 1024 * 1024


def configure(config: Config, *, worker: int | None = None) -> None:
    """Set up the log of this process from ``logging`` of the configuration.

    A ``server.log`` that cannot be opened is a warning; the server runs without it. Each
    ``worker`` has a file of its own, since the files of two processes cannot be rotated by both.
    """
    root = logging.getLogger()
    root.handlers = []
    set_level(config)
    if config.logging.console.enabled:
        console = logging.StreamHandler(sys.stderr)
        as_json = config.logging.console.format == "json"
        console.setFormatter(_json() if as_json else _Text())
        root.addHandler(console)
    if config.logging.file.enabled:
        try:
            name = "server.log" if worker is None else f"server-{worker}.log"
            root.addHandler(_file(Path(config.logging.file.directory) / name))
        except OSError as error:
            logging.getLogger(__name__).warning("running without server.log: %s", error)
    if not root.handlers:
        root.addHandler(logging.NullHandler())


def set_level(config: Config) -> None:
    """Set the log level from the configuration."""
    root = logging.getLogger()
    root.setLevel("DEBUG" if config.general.verbose else config.logging.level)
    # At DEBUG these would write answers, vectors and every database call.
    for noisy in ("sse_starlette", "aiosqlite", "asyncio", "chromadb", "httpx", "markdown_it"):
        logging.getLogger(noisy).setLevel(max(logging.INFO, root.level))
    # With --reload it would report each line of server.log as a change, in server.log.
    logging.getLogger("watchfiles").setLevel(logging.WARNING)
    # A line a request at INFO, and whole questions at DEBUG.
    logging.getLogger("elastic_transport").setLevel(logging.ERROR)


def _file(path: Path) -> logging.Handler:
    make_private_folder(path.parent)
    handler = RotatingFileHandler(path, maxBytes=_MEGABYTES, backupCount=4)
    handler.setFormatter(_json())
    # Requests go to the console; what was asked and answered is in the chat log.
    handler.addFilter(lambda record: record.name != "orbit_server.requests")
    return handler


def _json() -> logging.Formatter:
    return JsonFormatter(_FIELDS, rename_fields={"asctime": "timestamp", "levelname": "level"})


class _Text(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:
        # A message may quote what someone sent: it must neither begin a line nor steer a terminal.
        return super().formatMessage(record).translate(_ESCAPED)

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        duration = getattr(record, "duration_ms", None)
        if duration is None:
            return line
        return f"{line} {duration:.0f} ms [{record.__dict__['request_id']}]"


_CONTROL = (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)
_ESCAPED = {code: repr(chr(code))[1:-1] for code in _CONTROL}
