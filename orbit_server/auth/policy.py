"""Who is let in: the holder of a key, the default caller, the holder of the admin token."""

import hmac
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from pydantic import SecretStr

from ..errors import Forbidden
from .keys import Key

ADMIN = "admin"


class Policy:
    """Tells who a caller is.

    ``verify_key`` returns whom a key belongs to, or ``None``. Without any key a caller counts as
    the default one, who asks ``default_collection``; where that is ``None`` nobody does.
    ``admin_token`` opens the administration; without one it stays closed.
    """

    def __init__(
        self,
        verify_key: Callable[[str], Awaitable[Key | None]],
        *,
        default_collection: str | None = None,
        admin_token: SecretStr | None = None,
    ) -> None:
        self._verify_key = verify_key
        self._default_collection = default_collection
        self._admin_token = admin_token

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
        """Return ``ADMIN`` to whoever holds the admin token, else ``None``.

        Raises ``Forbidden`` when no token is configured: then nobody has access.
        """
        if self._admin_token is None:
            raise Forbidden(
                "Administration is switched off: set ADMIN_TOKEN in the environment or in .env."
            )
        given = (token or "").encode(errors="replace")
        # Compared in constant time: how long a refusal takes must not tell how much was right.
        same = hmac.compare_digest(given, self._admin_token.get_secret_value().encode())
        return ADMIN if same else None
