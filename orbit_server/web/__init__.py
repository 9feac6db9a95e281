"""The chat page: static files of our own, and the routes that serve them."""

from .page import page_routes

__all__ = ["page_routes"]
