"""``orbit moderate``: what the safety check makes of a text."""

import asyncio
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from ..safety.guard import Verdict


def moderate(context: typer.Context, text: str) -> None:
    """Show the safety check's verdict on a text.

    With the model's raw reply and the time it took.
    """
    from ..config.loader import load
    from ..errors import OrbitError
    from ..services import Services
    from .console import out

    config = load(context.obj)

    async def run() -> "Verdict":
        services = Services(config)
        if services.guard is None:
            raise OrbitError("the safety check is switched off: set safety.mode to fuzzy or strict")
        async with services.ollama:
            return await services.guard.check(text)

    verdict = asyncio.run(run())
    out.print(f"verdict  {'safe' if verdict.safe else f'blocked ({verdict.reason})'}")
    out.print(f"reply    {verdict.raw!r}", markup=False)
    out.print(f"time     {verdict.seconds:.2f} s")
