"""The table of commands, and how one of them is run.

Loaded by every call, also to print the help: a command's module imports what it works with inside
its functions.
"""

from typing import Annotated

import typer

from .. import __version__
from ..server.exit import exit_on_error
from . import collections, evaluation, keys, logs
from .ask import ask
from .doctor.command import doctor
from .ingest import ingest
from .moderate import moderate
from .options import ConfigFile
from .questions.command import questions
from .serve import serve

# Plain help: to lay it out in boxes, typer would load rich.
app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
app.command()(serve)
app.command()(ingest)
app.command()(ask)
app.add_typer(keys.app, name="keys")
app.add_typer(collections.app, name="collections")
app.command()(doctor)
app.add_typer(logs.app, name="logs")
app.command()(questions)
app.command()(moderate)
app.command("evaluate")(evaluation.evaluate_search)
app.command("calibrate")(evaluation.calibrate_threshold)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"orbit {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    config: ConfigFile = None,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """ORBIT server: answers from your own documents, streamed."""
    context.obj = config


def main() -> None:
    """Run one command; exit with 1 and a sentence, or with 2 for a wrong call or configuration."""
    with exit_on_error():
        app(prog_name="orbit")
