"""``load``: a file (or a mapping), ``.env`` and the environment become one ``Config``."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from . import tree
from .files import read_text
from .merging import Merging
from .schema import Config
from .sentences import printable
from .variables import read_dotenv

__all__ = ["Config", "load"]


def load(
    source: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    from_working_folder: bool = True,
) -> Config:
    """Return the configuration, or raise ``ConfigError`` with every mistake at once.

    ``source`` is the file, or a mapping of its sections. Without it the file is the one that
    ``ORBIT_CONFIG`` names, else ``config.yaml`` where there is one. ``environ`` (``os.environ``
    unless given, never changed) wins over the ``.env`` beside the file or, where there is none, in
    the working folder; no ``.env`` goes with a mapping. ``overrides`` maps dotted keys to values
    that win over the file and are taken as they are, without ``${VAR}``.

    Without ``from_working_folder``, neither ``config.yaml`` nor ``.env`` is read there unless it is
    named, or lies beside what is named: they may belong to the program that this is a part of.

    Only regular files are read. A pipe may keep its reader waiting for ever, and gives what it has
    once; each worker reads the configuration, and a reload reads it again.
    """
    environ = os.environ if environ is None else environ
    folders: list[Path] = []
    if isinstance(source, Mapping):
        name = "the given mapping"
        try:
            root: tree.Node | None = tree.from_mapping(source)
        except RecursionError:
            raise ConfigError([f"{name}: nested too deeply"]) from None
    else:
        named = (environ.get("ORBIT_CONFIG") or None) if source is None else source
        file = Path("config.yaml" if named is None else named)
        name = printable(str(file))
        text: str | None = None
        if named is not None or from_working_folder:
            absent = (FileNotFoundError, NotADirectoryError) if named is None else ()
            text = read_text(file, absent=absent)
            folders = [file.parent, Path()] if from_working_folder else [file.parent]
        root = tree.compose(text or "", name)
    merging = Merging(name)
    merging.read(root)
    merging.override(overrides or {})
    merging.substitute({**read_dotenv(folders), **environ})
    config = merging.finish()
    warnings = tuple(_warnings(name, config, merging.without_effect))
    return config.model_copy(update={"warnings": warnings})


def _warnings(source: str, config: Config, without_effect: list[str]) -> Iterator[str]:
    if without_effect:
        names = ", ".join(without_effect)
        yield f"{source}: these keys no longer have any effect and are ignored: {names}"
    thresholds = [
        f"chroma.{name}"
        for name in ("confidence_threshold", "relevance_threshold")
        if getattr(config.chroma, name) is not None
    ]
    if thresholds:
        yield (
            f"{source}: {' and '.join(thresholds)} used as written. A threshold fits one"
            " embedding model; common values such as 0.85 and 0.7 refuse most right answers"
            " with most models. `calibrate` measures what fits yours."
        )
    https = config.general.https
    if config.general.acme_dir and https.enabled and not https.redirect_http:
        yield (
            f"{source}: general.acme_dir is of no use: with HTTPS nobody listens on"
            " general.port, where the proofs are asked for, unless general.https.redirect_http"
            " is true"
        )
    if config.ollama.hosts and "base_url" in config.ollama.model_fields_set:
        yield f"{source}: ollama.base_url is not used: ollama.hosts names the servers"
    if not config.logging.file.enabled:
        yield f"{source}: logging.file.enabled is false, but the chat log is always written"
