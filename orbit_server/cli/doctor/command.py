"""``orbit doctor``: the set-up checked, one line a finding."""

import asyncio
import logging
import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from ..options import AsJson

if TYPE_CHECKING:
    from .checks import Diagnosis

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


def doctor(context: typer.Context, as_json: AsJson = False) -> None:
    """Check the set-up: what is wrong, and how to fix it. Exit 0: the server works."""
    from .checks import diagnose

    # What the parts would log while they are checked is among the findings.
    logging.getLogger().addHandler(logging.NullHandler())
    runner = asyncio.Runner()
    diagnosis = runner.run(diagnose(context.obj))
    (_print_json if as_json else _print_lines)(diagnosis)
    code = 2 if not diagnosis.configured else int(diagnosis.status == "fail")
    if diagnosis.hanging:
        # A thread that hangs cannot be ended, and leaving in peace would wait for it.
        sys.stdout.flush()
        os._exit(code)
    runner.close()
    raise typer.Exit(code)


def _print_lines(diagnosis: "Diagnosis") -> None:
    from rich.text import Text

    from ..console import out

    for finding in diagnosis.findings:
        line = Text(f"{finding.status:<5}", style=_COLOURS[finding.status])
        line.append(f" {finding.name:<14} ", style="bold")
        line.append(finding.message, style="default")
        if finding.remedy:
            line.append(f" → {finding.remedy}", style="default")
        out.print(line)


def _print_json(diagnosis: "Diagnosis") -> None:
    import orjson

    result = {
        "status": diagnosis.status,
        "checks": [asdict(finding) for finding in diagnosis.findings],
    }
    print(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode())
