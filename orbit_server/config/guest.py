"""The configuration of a server that is a part of somebody else's program."""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..errors import ConfigError
from .loader import load
from .schema import Config

logger = logging.getLogger(__name__)

# Nothing else: a config.yaml and a .env in the working folder are the program's own.
ConfigSource = Config | Mapping[str, Any] | str | os.PathLike[str]


def resolve(source: ConfigSource | None) -> Config:
    """Return the configuration that a host gives: itself, sections as in the file, or a path.

    ``None`` stands for the file that ``ORBIT_CONFIG`` names, without one for the defaults. What is
    allowed and yet questionable is logged. Raises ``ConfigError`` with every mistake.
    """
    if isinstance(source, Config):
        return source
    config = load(source, from_working_folder=False)
    for warning in config.warnings:
        logger.warning("%s", warning)
    return config


@contextmanager
def named_errors(source: ConfigSource | None) -> Iterator[None]:
    """Name in every ``ConfigError`` of the block the server, and what it was configured with."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(
            error.mistakes,
            heading=f"the configuration of ORBIT server ({_name(source)}) cannot be used",
        ) from error


def _name(source: ConfigSource | None) -> str:
    if isinstance(source, Config | Mapping):
        return f"the {'Config' if isinstance(source, Config) else 'mapping'} given to create_app"
    if source is not None:
        return os.fspath(source)
    return os.environ.get("ORBIT_CONFIG") or "all defaults, because ORBIT_CONFIG is not set"
