"""The health check of several hosts: how many work, and what somebody should look at."""

from collections.abc import Awaitable, Callable
from typing import Any

from ..installed import version_check
from .hosts import Hosts


def hosts_check(hosts: Hosts) -> Callable[[], Awaitable[dict[str, Any]]]:
    """Return the health check of ``hosts``: numbers and a warning, without names.

    That a model is nowhere is not its business: the checks of the models say so.
    """
    version = version_check(hosts)

    async def check() -> dict[str, Any]:
        out, total = sum(host.is_out for host in hosts.hosts), len(hosts.hosts)
        found: dict[str, Any] = {"hosts": {"ok": total - out, "out": out}}
        if out:
            found["warning"] = f"{out} of {total} hosts of the models do not work"
        elif refused := hosts.refused():
            found["warning"] = f"{len(refused)} of {total} hosts embed with other files"
        return found | await version()

    return check
