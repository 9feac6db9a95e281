"""The configuration: read from a file and the environment, checked, and handed on as one object."""

from .loader import load
from .schema import Config

__all__ = ["Config", "load"]
