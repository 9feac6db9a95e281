"""ORBIT server: answers from your own documents, streamed.

Importing this package has no effect; ``create_app`` imports what it needs when it is called.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from .config.loader import Config
    from .services import Services

__version__ = "0.1.0"

__all__ = ["__version__", "create_app"]


def create_app(
    config: "Config | None" = None, *, services: "Services | None" = None
) -> "Starlette":
    """Return the server as an ASGI application, to be run or mounted; see ``orbit_server.app``."""
    from .app import create_app as create

    return create(config, services=services)
