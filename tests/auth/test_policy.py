"""``Policy``: who a caller is, by a key, by none, or by the admin token."""

import pytest
from pydantic import SecretStr

from orbit_server.auth.key import Key
from orbit_server.auth.policy import ADMIN, Policy
from orbit_server.errors import Forbidden

pytestmark = pytest.mark.anyio


async def unknown(key: str) -> Key | None:
    return None


async def test_without_a_key() -> None:
    """There is a default caller only where a collection is named for it."""
    assert await Policy(unknown).verify(None) is None
    caller = await Policy(unknown, default_collection="town").verify(None)
    assert caller is not None
    assert (caller.id, caller.collection) == ("default", "town")


async def test_a_wrong_key_is_no_missing_key() -> None:
    """It does not make anybody the default caller."""
    assert await Policy(unknown, default_collection="town").verify("api_x") is None


@pytest.mark.parametrize("given", ["wrong", "", None, "tökén", "\ud800"])
async def test_a_wrong_admin_token(given: str | None) -> None:
    """Whatever it holds, it is nobody's."""
    assert await Policy(unknown, admin_token=SecretStr("token")).verify_admin(given) is None


async def test_the_admin_token() -> None:
    """Without one in the configuration nobody has access, and is told so."""
    assert await Policy(unknown, admin_token=SecretStr("token")).verify_admin("token") == ADMIN
    with pytest.raises(Forbidden):
        await Policy(unknown).verify_admin("token")


async def test_a_token_of_this_machine() -> None:
    """It opens the administration beside the configured one, or alone; none opens nothing."""
    policy = Policy(unknown, admin_token=SecretStr("token"), local_token=lambda: "local")
    assert await policy.verify_admin("token") == await policy.verify_admin("local") == ADMIN
    assert await policy.verify_admin("other") is None
    alone = Policy(unknown, local_token=lambda: "local")
    assert await alone.verify_admin("local") == ADMIN
    for given in ("other", "", None):
        with pytest.raises(Forbidden):
            await alone.verify_admin(given)
