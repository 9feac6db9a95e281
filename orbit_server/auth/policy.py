"""Who is let in: the holder of a key, the default caller, the holder of the admin token."""

import hmac
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from pydantic import SecretStr

from ..errors import Forbidden
from .key import Key

ADMIN = "admin"


class Policy:
    """Tells who a caller is.

    ``verify_key`` returns whom a key belongs to, or ``None``. Without any key a caller counts as
    the default one, who asks ``default_collection``; where that is ``None`` it is refused.
    ``admin_token`` opens the administration, and so does what ``local_token`` returns, which only
    users of this machine can know; without either it stays closed.
    """

    def __init__(
        self,
        verify_key: Callable[[str], Awaitable[Key | None]],
        *,
        default_collection: str | None = None,
        admin_token: SecretStr | None = None,
        local_token: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._verify_key = verify_key
        self._default_collection = default_collection
        self._admin_token = admin_token
        self._local_token = local_token

    async def verify(self, key: str | None) -> Key | None:
        """Return whom ``key`` belongs to, else ``None``; without one, the default caller if any.

        Raises ``KeysUnavailable`` when the key table cannot be read.
        """
        if key is not None:
            return await self._verify_key(key)
        if self._default_collection is None:
            return None
        return Key(
            id="default",
            prefix="",
            collection=self._default_collection,
            client_name="default",
            notes="",
            created_at=datetime.now(UTC),
            expires_at=None,
            active=True,
            last_used_at=None,
            stream_format=None,
        )

    async def verify_admin(self, token: str | None) -> str | None:
        """Return ``ADMIN`` for an admin token, else ``None``.

        Raises ``Forbidden`` when none is configured: then nobody else has access.
        """
        configured = self._admin_token.get_secret_value() if self._admin_token else None
        # The configured one first: most requests then read no file.
        if _same(token, configured) or _same(token, self._local_token()):
            return ADMIN
        if configured is None:
            raise Forbidden(
                "Administration is switched off: set ADMIN_TOKEN in the environment or in .env."
            )
        return None


def _same(given: str | None, expected: str | None) -> bool:
    # Compared in constant time: how long a refusal takes must not tell how much was right.
    return bool(given and expected) and hmac.compare_digest(
        (given or "").encode(errors="replace"), (expected or "").encode()
    )
