"""What may be known about an API key, and how long one may live."""

import hashlib
import re
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta

from ..types import StreamFormat

MOST = 1_000_000_000
"""The highest limit that can be stored."""

_LONGEST_SECRET = 256


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a key may be used; 0 is without a limit, ``None`` is what ``limits`` configures.

    Requests in a minute and in a calendar day of UTC, answers under way at once, and requests in a
    minute from one visitor's address.
    """

    requests_per_minute: int | None = None
    requests_per_day: int | None = None
    streams: int | None = None
    visitor_per_minute: int | None = None


LIMITS = tuple(each.name for each in fields(Limits))
"""The names of the limits, as the table, the configuration and the routes call them."""

PUBLIC = Limits(requests_per_minute=60, requests_per_day=2000, streams=10, visitor_per_minute=10)
"""What suits a key that everybody can read in a page."""


@dataclass(frozen=True, slots=True)
class Key:
    """What may be known about an API key: everything but the key itself.

    ``prefix`` is its visible beginning (the configured prefix and four more characters). Times are
    aware and in UTC. With ``origins``, only pages of these sites may use it. After a rotation the
    key before works until ``previous_until``. ``used`` counts its requests on the day ``used_on``
    (ISO date in UTC). ``digest`` is the hash of the secret that it was verified with.
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
    origins: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    previous_until: datetime | None = None
    used_on: str | None = None
    used: int = 0
    digest: str = field(default="", repr=False, compare=False)

    def usable(self, now: datetime) -> bool:
        """Tell whether the key opens anything at ``now`` (an aware time)."""
        return self.active and (self.expires_at is None or now < self.expires_at)

    def used_today(self, now: datetime) -> int:
        """Return how many requests it was used for on the day of ``now``, as far as noted."""
        return self.used if self.used_on == day_of(now) else 0


def day_of(moment: datetime) -> str:
    """Return the calendar day in UTC of an aware time, as an ISO date."""
    return moment.astimezone(UTC).date().isoformat()


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


def hash_of(secret: str) -> str:
    """Return what is stored of a key: its SHA-256 in hexadecimal."""
    return hashlib.sha256(secret.encode()).hexdigest()


def could_be_key(text: str) -> bool:
    """Tell whether ``text`` has the form of a key: printable ASCII of a sensible length."""
    return 0 < len(text) <= _LONGEST_SECRET and text.isascii() and text.isprintable()
