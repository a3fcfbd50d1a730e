"""Webhook secrets in the database: sealed, opened, and brought under a new key."""

import base64
import os
from pathlib import Path

import pytest

from cryptowatch.db.pool import connection, transaction
from cryptowatch.errors import OperatorError, SettingsError
from cryptowatch.webhooks.endpoints import rotate_secret
from cryptowatch.webhooks.sealing import Seal, read_seal, seal_all
from tests.webhooks.receiver import Receiver
from tests.webhooks.world import World, endpoint_id


def new_key() -> str:
    return base64.b64encode(os.urandom(32)).decode()


def seal_of(path: Path, *keys: str) -> Seal:
    path.write_text("\n".join(keys) + "\n")
    return read_seal(path)


async def kept(hooks: World) -> str:
    async with connection(hooks.pool) as conn:
        row = await conn.fetchrow("SELECT * FROM webhook_endpoint")
    return str(row)


async def test_a_sealed_secret_signs_as_before_through_a_rotation_of_either(
    hooks: World, hook: Receiver, tmp_path: Path
) -> None:
    first, second = new_key(), new_key()
    endpoint = await hooks.endpoint(hook.url)
    assert endpoint.secret in await kept(hooks)
    for keys in ((first,), (second, first), (second,)):
        hooks.seal = seal_of(tmp_path / "keys", *keys)
        async with transaction(hooks.pool) as conn:
            await seal_all(conn, hooks.seal)
        assert endpoint.secret not in await kept(hooks)
    async with transaction(hooks.pool) as conn:
        now = hooks.clock.now()
        until = now.replace(year=now.year + 1)
        rotated = await rotate_secret(conn, endpoint_id(endpoint), os.urandom(32), hooks.seal, until, now)
    assert rotated is not None
    assert rotated.secret not in await kept(hooks)
    await hooks.happen("dep_1")
    async with hooks.working():
        [got] = await hook.until(1)
        await hooks.until_states(endpoint, "delivered")
    assert got.verified_by(endpoint.secret)
    assert got.verified_by(rotated.secret)


async def test_a_secret_whose_key_is_missing_is_told_by_the_setting(hooks: World, tmp_path: Path) -> None:
    hooks.seal = seal_of(tmp_path / "keys", new_key())
    endpoint = await hooks.endpoint("http://127.0.0.1:1/")
    assert endpoint.secret not in await kept(hooks)
    for other in (Seal(), seal_of(tmp_path / "keys", new_key())):
        async with transaction(hooks.pool) as conn:
            with pytest.raises(OperatorError, match=r"webhooks\.key_file"):
                await seal_all(conn, other)


@pytest.mark.parametrize(
    "text",
    ["", "c2hvcnQ=\n", "not base64!\n", "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=\nshort\n", "\xff"],
)
def test_a_file_that_holds_anything_but_keys_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys").write_text(text, encoding="latin-1")
    with pytest.raises(SettingsError, match="32 random bytes") as refused:
        read_seal(tmp_path / "keys")
    assert refused.value.key == "webhooks.key_file"
    assert text.strip() == "" or text.strip() not in str(refused.value)
    with pytest.raises(SettingsError, match="cannot read"):
        read_seal(tmp_path / "none")
