"""Reload (SIGHUP): what of a changed configuration a running server can use without a restart."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from functools import reduce
from typing import Any

from ..config import Config, Section
from ..errors import ConfigError
from ..observability import logging as logs
from ..safety import read_rules
from ..services import Services

logger = logging.getLogger(__name__)

# Everything else was built into something that is open.
RELOADABLE = (
    "admin_token",
    "answer.about",
    "answer.greeting",
    "answer.no_results_message",
    "answer.small_talk",
    "answer.system_prompt",
    "general.no_results_message_file",
    "general.safety_prompt_file",
    "general.verbose",
    "limits.requests_per_day",
    "limits.requests_per_minute",
    "limits.streams",
    "limits.visitor_per_minute",
    "limits.wrong_keys_per_minute",
    "logging.include_prompts",
    "logging.level",
    "safety.blocklist",
    "safety.prompt_file",
)


async def reload(services: Services, load: Callable[[], Config]) -> None:
    """Apply what can change while the server runs, and log what could not.

    ``load`` reads the configuration. The files that it names (prompts, blocklist) and the
    certificate are read again, and keys are looked up again. When something in it is wrong, the log
    says what, and all of it stays as it was. Raises nothing.
    """
    try:
        await _reload(services, load)
    except Exception:
        logger.exception("configuration not reloaded")


async def _reload(services: Services, load: Callable[[], Config]) -> None:
    if services.certificate is not None:
        await asyncio.to_thread(services.certificate.refresh)
    services.keys.forget()
    try:
        wanted = await asyncio.to_thread(load)
        config = taken_over(services.config, wanted)
        rules = await asyncio.to_thread(read_rules, config.safety)
        services.configure(config, rules)
    except ConfigError as error:
        logger.error("configuration not reloaded: %s", "; ".join(error.mistakes))
        return
    logs.set_level(config)
    left = list(changed(config, wanted))
    if left:
        logger.warning("reloaded except for these keys, which need a restart: %s", ", ".join(left))
    else:
        logger.info("configuration reloaded")


def taken_over(config: Config, wanted: Config) -> Config:
    """Return ``config`` with the keys of ``RELOADABLE`` as they are in ``wanted``."""
    return reduce(lambda result, key: _with(result, wanted, key.split(".")), RELOADABLE, config)


def changed(before: Config, after: Config) -> Iterator[str]:
    """Yield the dotted name of each key that differs."""
    return _changed(before, after, "")


def _with(target: Any, source: Any, path: list[str]) -> Any:
    name, *rest = path
    value = getattr(source, name)
    if rest:
        value = _with(getattr(target, name), value, rest)
    return target.model_copy(update={name: value})


def _changed(before: Section, after: Section, prefix: str) -> Iterator[str]:
    for name in type(before).model_fields:
        old, new = getattr(before, name), getattr(after, name)
        if isinstance(old, Section):
            yield from _changed(old, new, f"{prefix}{name}.")
        elif old != new and name != "warnings":
            yield prefix + name
