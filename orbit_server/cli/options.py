"""Options that several commands take. Only typer is imported here: every call loads this module."""

from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="Configuration file (default: config.yaml, if it exists).",
        metavar="FILE",
    ),
]
Collection = Annotated[
    str, typer.Option("--collection", help="Name of the collection.", metavar="NAME")
]
Server = Annotated[
    str | None,
    typer.Option("--server", help="Work through the running server at this URL.", metavar="URL"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
