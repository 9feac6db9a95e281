"""Which host gets a call: the healthy ones that have the model, in the order of this rank.

1. No call has failed there a moment ago.
2. The model is loaded, and there is less work than the host's weight.
3. Least work: running calls, with this one, by weight. Those within a quarter of the least count
   as equal for what belongs to a conversation.
4. Of equals, the one that rendezvous hashing gives the conversation: the same as long as the host
   is healthy, and when one goes only its own conversations move. Other calls take any.
"""

import random
from collections.abc import Sequence
from hashlib import blake2b

from ..installed import tagged
from .host import Host

_TOLERANCE = 0.25


def having(hosts: Sequence[Host], model: str, digest: str | None = None) -> list[Host]:
    """Return those of ``hosts`` that have ``model``, with ``digest`` if one is given.

    As long as none has said that it has it, those that have said nothing may.
    """
    found = [host for host in hosts if host.has(model, digest)]
    return found or [host for host in hosts if host.models is None]


def candidates(
    hosts: Sequence[Host],
    model: str,
    digest: str | None = None,
    *,
    tried: Sequence[Host] = (),
) -> list[Host]:
    """Return those of ``hosts`` that may be asked for ``model`` next, in their order.

    They are the healthy ones that have it and were not ``tried``. Where there are none of those,
    the others that have it are a last resort.
    """
    left = [host for host in having(hosts, model, digest) if host not in tried]
    return [host for host in left if not host.is_out] or left


def ranked(hosts: Sequence[Host], model: str, conversation: str | None = None) -> list[Host]:
    """Return ``hosts`` for a call of ``model``, the best first."""
    name = tagged(model)

    def first(host: Host) -> tuple[bool, bool]:
        ready = name in host.loaded and host.running < host.weight
        return host.circuit.is_doubtful, not ready

    least: dict[tuple[bool, bool], float] = {}
    for host in hosts:
        group = first(host)
        least[group] = min(_load(host), least.get(group, _load(host)))

    def rank(host: Host) -> tuple[tuple[bool, bool], float, float]:
        group = first(host)
        if conversation is None:
            return group, _load(host), random.random()  # noqa: S311
        above = _load(host) - least[group]
        return group, above if above > _TOLERANCE else 0.0, -_affinity(conversation, host.name)

    return sorted(hosts, key=rank)


def _load(host: Host) -> float:
    return (host.running + 1) / host.weight


def _affinity(conversation: str, name: str) -> float:
    """Return the score of rendezvous hashing (Thaler and Ravishankar, 1998), from 0 to 1."""
    both = f"{name}\0{conversation}".encode(errors="replace")
    return int.from_bytes(blake2b(both, digest_size=8).digest()) / 2**64
