"""ORBIT server: answers from your own documents, streamed.

Importing this package has no effect; ``create_app`` imports what it needs when it is called.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from .config import ConfigSource
    from .services import Services

__version__ = "0.2.0"

__all__ = ["__version__", "create_app"]


def create_app(
    config: "ConfigSource | None" = None, *, services: "Services | None" = None
) -> "Starlette":
    """Return the server as an ASGI application, to be run or mounted.

    ``config`` is a ``Config``, a mapping of the sections of ``config.yaml``, or the path of such a
    file; without it, the file that ``ORBIT_CONFIG`` names is read, and no other. Raises
    ``ConfigError`` with every mistake. See ``orbit_server.app.create_app``.
    """
    from .app import create_app as create

    return create(config, services=services)
