"""The safety check, made from its section of the configuration and the files that this names."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..config.files import read_text
from ..config.schema import SafetyConfig
from ..errors import ConfigError
from ..llm.protocols import Complete
from .blocklist import Blocklist
from .guard import Guard, Verdict


class SafetyRules(NamedTuple):
    """What the files of the safety check say: how the model is asked, what needs no model."""

    prompt: str | None = None
    blocklist: Blocklist | None = None


def read_rules(config: SafetyConfig) -> SafetyRules:
    """Read the files that the safety check names, if it is on; may raise ``ConfigError``."""
    if not config.active:
        return SafetyRules()
    return SafetyRules(
        prompt=_prompt(config.prompt_file) if config.prompt_file else None,
        blocklist=Blocklist.load(config.blocklist) if config.blocklist else None,
    )


def build(
    config: SafetyConfig,
    *,
    complete: Complete,
    options: Mapping[str, Any],
    rules: SafetyRules | None = None,
    note: Callable[[Verdict], None] = lambda verdict: None,
) -> Guard | None:
    """Return the safety check, or ``None`` when it is switched off; may raise ``ConfigError``.

    ``options`` are those of every call of a model. Without ``rules`` they are read from their
    files. ``note`` gets every verdict.
    """
    if not config.active:
        return None
    rules = rules or read_rules(config)
    own = {
        "temperature": config.temperature,
        "top_p": config.top_p,
        "top_k": config.top_k,
        "repeat_penalty": config.repeat_penalty,
        "num_predict": config.num_predict,
    }
    return Guard(
        complete,
        mode="strict" if config.mode == "strict" else "fuzzy",
        model=config.model,
        prompt=rules.prompt,
        options={**options, **own},
        max_retries=config.max_retries,
        retry_delay=config.retry_delay,
        request_timeout=config.request_timeout,
        allow_on_timeout=config.allow_on_timeout,
        blocklist=rules.blocklist,
        categories=config.categories,
        note=note,
    )


def _prompt(path: str) -> str:
    try:
        return read_text(Path(path))
    except ConfigError as error:
        raise ConfigError([f"safety.prompt_file: {each}" for each in error.mistakes]) from error
