"""Which hosts may embed: those with the same files of the model, since vectors are compared."""

import logging
from collections.abc import Sequence

from ..installed import short, tagged
from .host import Host

logger = logging.getLogger(__name__)


class SameFiles:
    """The digest of an embedding model that counts, and the hosts that have another one.

    It is that of the first host that has ``model``, as long as any host has that: which host it
    was is forgotten when nobody has it any more.
    """

    def __init__(self, hosts: Sequence[Host], model: str) -> None:
        self._hosts, self._model = hosts, tagged(model)
        self._pinned: str | None = None
        self._told: set[str] = set()

    @property
    def digest(self) -> str | None:
        """The digest that counts, ``None`` where none is known."""
        known = [digest for host in self._hosts if (digest := host.digest(self._model))]
        if self._pinned not in known:
            self._pinned = known[0] if known else None
        return self._pinned

    def usable(self) -> bool:
        """Whether any host embeds now."""
        digest = self.digest
        return any(host.has(self._model, digest) and not host.is_out for host in self._hosts)

    def refused(self) -> list[str]:
        """Return a sentence for each host with other files, which names both and their digests."""
        digest = self.digest
        having = [host for host in self._hosts if host.has(self._model)]
        first = next((host.name for host in having if host.has(self._model, digest)), "")
        return [
            f"{self._model}: {host.name} has different files ({short(host.digest(self._model))})"
            f" from {first} ({short(digest)}), and embeds nothing. Pull the same model there"
            for host in having
            if not host.has(self._model, digest)
        ]

    def warn(self) -> None:
        """Say in the log, once, which hosts embed nothing."""
        refused = self.refused()
        for sentence in refused:
            if sentence not in self._told:
                logger.warning("%s", sentence)
        self._told = set(refused)
