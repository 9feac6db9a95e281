"""Keeping an eye on one host in the background: what it has, and whether one that is out is back.

No answer waits for this, but for the very first.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from contextlib import suppress

from ...errors import ModelError
from .host import Host

logger = logging.getLogger(__name__)

_GREETING = "Hi"
_SOON = 1.0


async def watch(
    host: Host,
    *,
    refresh_seconds: float,
    ask_seconds: float,
    trial_seconds: float,
    changed: Callable[[], None],
) -> None:
    """Look at ``host`` every ``refresh_seconds``, and sooner when a call has failed; never returns.

    Its lists may take ``ask_seconds`` each time, a trial ``trial_seconds``. ``changed`` is called
    after each look.
    """
    while True:
        try:
            await _look(host, ask_seconds, trial_seconds)
        except Exception:  # the other hosts, and the next look, go on
            logger.exception("looking at the model's host %s", host.name)
        changed()
        due = time.monotonic() + refresh_seconds * random.uniform(0.9, 1.1)  # noqa: S311
        while (left := (due := _due(host, due)) - time.monotonic()) > 0:
            host.failing.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await host.failing.wait()


def _due(host: Host, due: float) -> float:
    """Return when to look next: a failed call is a reason to do so soon."""
    if host.circuit.is_out:
        return host.circuit.next_trial
    return min(due, time.monotonic() + _SOON) if host.circuit.is_doubtful else due


async def _look(host: Host, ask_seconds: float, trial_seconds: float) -> None:
    was_out = host.circuit.is_out
    try:
        async with asyncio.timeout(ask_seconds):
            await refresh(host)
        if was_out:
            async with asyncio.timeout(trial_seconds):
                await _trial(host)
    except (ModelError, TimeoutError) as error:
        if was_out:
            host.circuit.trial_failed()
        else:
            host.fails(error if str(error) else ModelError("it does not answer"))
    else:
        if was_out or host.suspect is None:  # else only a call can tell
            host.works()


async def refresh(host: Host) -> None:
    """Ask what is installed and loaded; raises the ``ModelError`` family."""
    client = host.client
    host.version = await client.version()
    installed, loaded = await client.installed(), await client.loaded()
    host.models = {model.name: model.digest for model in installed}
    host.loaded = {model.name for model in loaded}


async def _trial(host: Host) -> None:
    """Ask for the shortest reply of the model that failed, so that no question is risked.

    A host that lists its models may still hang where it has to compute.
    """
    if host.suspect is None or not host.has(host.suspect[1]):
        return
    kind, model = host.suspect
    if kind == "embed":
        await host.client.embed([_GREETING], model=model, retries=0)
    else:
        await host.client.complete(
            [{"role": "user", "content": _GREETING}],
            model=model,
            options={"num_predict": 1},
            retries=0,
        )
