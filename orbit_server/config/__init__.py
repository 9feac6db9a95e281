"""The configuration: read from a file and the environment, checked, and handed on as one object."""

from .files import make_private_folder, read_file, read_text
from .guest import ConfigSource
from .loader import load
from .schema import Config
from .section import Section

__all__ = [
    "Config",
    "ConfigSource",
    "Section",
    "load",
    "make_private_folder",
    "read_file",
    "read_text",
]
