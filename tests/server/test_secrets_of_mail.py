"""A running service follows the rotation of the secrets that sign rewritten senders and loop tokens."""

import asyncio
from datetime import timedelta

import pytest

from tests.kit.patience import PATIENCE
from waypost.config.sources import from_options
from waypost.domain.mailauth import mail_secrets
from waypost.host.data_directory import DataDirectory
from waypost.server import key_rotation, service
from waypost.server.service import Service


@pytest.mark.parametrize("how", ["by itself", "reload", "restart"])
def test_new_secrets_sign_and_those_before_are_accepted(tmp_path, monkeypatch, how):
    monkeypatch.setattr(mail_secrets, "LEAD", timedelta())
    monkeypatch.setattr(service, "SECRETS_EVERY", 0.01 if how == "by itself" else 3600.0)
    settings = from_options(data=str(tmp_path), http="127.0.0.1:0", smtp="127.0.0.1:0")

    async def scenario():
        running = Service(settings)
        await running.start()
        try:
            before = running._common.deployment
            old = (before.loop_key, before.srs_key(700))
            assert before.other_secrets == ()
            await key_rotation.rotate_mail(DataDirectory(tmp_path))
            if how == "reload":
                await running.reload()
            if how == "restart":
                await running.stop()
                running = Service(settings)
                await running.start()
            async with asyncio.timeout(PATIENCE):
                while running._common.deployment.loop_key == old[0]:  # noqa: ASYNC110 - a test
                    await asyncio.sleep(0.005)
            after = running._common.deployment
            assert after.loop_keys[1:] == [old[0]]
            assert after.srs_key(700) != old[1]
            (period, *_) = after.other_secrets[0].periods
            assert after.other_secrets[0].srs_key(period) == DataDirectory(tmp_path).master_keys.derived(
                f"rewritten senders {period}"
            )
        finally:
            await running.stop()

    asyncio.run(scenario())


def test_a_rotation_of_the_master_key_rotates_these_secrets_too(tmp_path, monkeypatch):
    monkeypatch.setattr(mail_secrets, "LEAD", timedelta())
    settings = from_options(data=str(tmp_path), http="127.0.0.1:0", smtp="127.0.0.1:0")

    async def deployment():
        running = Service(settings)
        await running.start()
        found = running._common.deployment
        await running.stop()
        return found

    old = asyncio.run(deployment())
    assert asyncio.run(key_rotation.rotate_master(DataDirectory(tmp_path))).is_complete
    new = asyncio.run(deployment())
    assert new.loop_key != old.loop_key
    assert old.loop_key in new.loop_keys
    assert asyncio.run(key_rotation.rotate_master(DataDirectory(tmp_path))).is_complete
    newest = asyncio.run(deployment())
    assert {old.loop_key, new.loop_key} < set(newest.loop_keys)


def test_a_store_that_fails_leaves_the_secrets_unchanged(tmp_path, monkeypatch):
    from waypost.app import ports

    settings = from_options(data=str(tmp_path), http="127.0.0.1:0", smtp="127.0.0.1:0")

    async def scenario():
        running = Service(settings)
        await running.start()
        before = running._common.deployment.loop_key

        async def fail(_):
            raise ports.StoreUnavailable("gone")

        with monkeypatch.context() as patch:
            patch.setattr(type(running._common.store), "read", lambda _, use_case: fail(use_case))
            await running._read_secrets(running._common)
        assert running._common.deployment.loop_key == before
        await running.stop()

    asyncio.run(scenario())
