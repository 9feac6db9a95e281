"""What may be known about an API key, and how long one may live."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ..types import StreamFormat


@dataclass(frozen=True, slots=True)
class Key:
    """What may be known about an API key: everything but the key itself.

    ``prefix`` is its visible beginning (the configured prefix and four more characters). Times are
    aware and in UTC.
    """

    id: str
    prefix: str
    collection: str
    client_name: str
    notes: str
    created_at: datetime
    expires_at: datetime | None
    active: bool
    last_used_at: datetime | None
    stream_format: StreamFormat | None

    def usable(self, now: datetime) -> bool:
        """Tell whether the key opens anything at ``now`` (an aware time)."""
        return self.active and (self.expires_at is None or now < self.expires_at)


def parse_expiry(text: str, *, now: datetime | None = None) -> datetime:
    """Return the UTC time that ``text`` means: ``90d``, ``12h``, ``2027-01-31``, an ISO date-time.

    A date is its first moment, and a time without a zone is read as UTC. Raises ``ValueError`` with
    a sentence for anything else and for what is not in the future of ``now``.
    """
    now = now or datetime.now(UTC)
    try:
        if span := re.fullmatch(r"([0-9]+)([dh])", text.strip()):
            amount = int(span[1])
            expiry = now + (timedelta(days=amount) if span[2] == "d" else timedelta(hours=amount))
        else:
            expiry = datetime.fromisoformat(text.strip())
            expiry = expiry if expiry.tzinfo else expiry.replace(tzinfo=UTC)
        expiry = expiry.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(
            f'"{text}" is not an expiry: give 90d, 12h, 2027-01-31 or 2027-01-31T18:00Z.'
        ) from None
    if expiry <= now:
        raise ValueError(f'"{text}" is in the past: a key must expire in the future.')
    return expiry
