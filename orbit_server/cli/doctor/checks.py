"""Run all set-up checks at once, each with a time limit."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ... import llm, retrieval, safety
from ...config.loader import Config, load
from ...errors import ConfigError
from . import machine, network, storage
from .finding import Finding, Status, fail, ok, warn, worst
from .storage import CheckContext

LIMIT_SECONDS = 8.0


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All findings, in a fixed order of checks.

    ``configured`` tells whether there was a configuration to check with. ``hanging`` checks have
    been given up, but a thread of theirs may not have ended.
    """

    findings: tuple[Finding, ...]
    configured: bool
    hanging: bool

    @property
    def status(self) -> Status:
        """The worst of all findings."""
        return worst(self.findings)


async def diagnose(path: Path | None = None, *, limit: float = LIMIT_SECONDS) -> Diagnosis:
    """Return what is found of the set-up that ``path`` configures, else the usual file.

    Takes ``limit`` seconds at most; a check that is not done by then is a finding too. Raises
    nothing: a configuration that cannot be used is a finding, and what needs none is still checked.
    """
    file = Path(path or os.environ.get("ORBIT_CONFIG") or "config.yaml")
    context = CheckContext()
    config, findings = _configuration(path, file)
    checks: dict[str, AsyncIterator[Finding]] = {
        "packages": _in_thread(machine.packages),
        "open files": _in_thread(machine.open_files),
        "secrets": _in_thread(lambda: machine.secrets(config, file)),
        "clock": network.clock(config),
    }
    if config is not None:
        checks |= _with_configuration(config, context)
    found: dict[str, list[Finding]] = {name: [] for name in checks}
    tasks = {
        name: asyncio.create_task(_collect(name, check, found[name]))
        for name, check in checks.items()
    }
    _, pending = await asyncio.wait(tasks.values(), timeout=limit)
    for name, task in tasks.items():
        if task in pending:
            task.cancel()
            message = f"not finished after {limit:g} seconds."
            found[name].append(
                warn(name, message, "Find out what it is waiting for, and check again.")
            )
    for each in found.values():
        findings += each
    findings += storage.bindings(context)
    return Diagnosis(tuple(findings), config is not None, bool(pending))


def _with_configuration(config: Config, context: CheckContext) -> dict[str, AsyncIterator[Finding]]:
    return {
        "folders": _in_thread(lambda: machine.folders(config)),
        "disk": _in_thread(lambda: machine.disks(config)),
        "certificate": _in_thread(lambda: machine.certificate(config)),
        "ports": network.ports(config),
        "ollama": network.ollama(config),
        "safety": _in_thread(lambda: _judges(config)),
        "elasticsearch": network.elasticsearch(config),
        "words": network.words(config),
        "chroma": storage.documents(config, context),
        "keys": storage.keys(config, context),
        "limits": network.limits(config),
    }


def _configuration(path: Path | None, file: Path) -> tuple[Config | None, list[Finding]]:
    try:
        config = load(path)
    except ConfigError as error:
        return None, [fail("configuration", each, _remedy(each, file)) for each in error.mistakes]
    findings = [
        warn("configuration", warning, "docs/configuration.md explains each key.")
        for warning in config.warnings
    ]
    if config.admin_token is None:
        message = "no ADMIN_TOKEN: keys and collections cannot be managed over the network."
        token = "python3 -c 'import secrets; print(secrets.token_urlsafe(32))'"  # noqa: S105
        findings.append(
            warn(
                "configuration", message, f'echo "ADMIN_TOKEN=$({token})" >> .env && chmod 600 .env'
            )
        )
    name = str(file) if file.exists() else "all defaults"
    return config, findings or [ok("configuration", f"{name}: no mistakes found.")]


def _remedy(mistake: str, file: Path) -> str:
    if ": cannot be read: " in mistake:
        return "Put a text file there that the server's user may read."
    where = "the environment or in .env" if mistake.startswith("environment: ") else file
    return f"Correct it in {where}; docs/configuration.md has every key."


def _judges(config: Config) -> Iterator[Finding]:
    """Check whether the files of the safety check can be used, and the models can judge."""
    complete, options = llm.build(config.ollama).complete, config.ollama.options
    makes: dict[str, Callable[[], object | None]] = {
        "safety": lambda: safety.build(config.safety, complete=complete, options=options),
        "reranker": lambda: retrieval.build_reranker(
            config.reranker, complete=complete, options=options
        ),
    }
    for name, make in makes.items():
        try:
            made = make()
        except ConfigError as error:
            yield from (
                fail(name, each, f"Correct it, or what {name} names.") for each in error.mistakes
            )
        else:
            if made is not None:
                yield ok(name, "is on, and can be used as configured.")


async def _in_thread(check: Callable[[], Iterable[Finding]]) -> AsyncIterator[Finding]:
    for finding in await asyncio.to_thread(lambda: list(check())):
        yield finding


async def _collect(name: str, check: AsyncIterator[Finding], found: list[Finding]) -> None:
    try:
        async for finding in check:
            found.append(finding)
    except Exception as error:  # a check that fails must not take the others with it
        message = f"could not be checked: {type(error).__name__}: {error}"
        found.append(warn(name, message, "Please report this bug in orbit doctor."))
