"""Rotates the keys of a deployment: the master key, and the secrets that sign rewritten senders and loop tokens."""

import secrets
from collections.abc import Callable
from datetime import datetime
from functools import partial

from msgspec import Struct

from waypost.app import ports
from waypost.app.directory import resealing
from waypost.app.mail import mail_secrets
from waypost.host import master_key
from waypost.host.clock import now
from waypost.host.data_directory import DataDirectory
from waypost.server import opening, runtime
from waypost.server.opening import Refused


class Rotated(Struct, frozen=True):
    """What a rotation of the master key has done."""

    is_complete: bool
    """Whether all secrets are sealed with the new key. If not, the key must first be copied to other servers."""
    resealed: int = 0
    """The number of access keys and routes whose secrets were sealed again."""


async def rotate_master(
    directory: DataDirectory,
    *,
    database: str = "",
    is_only_server: bool = False,
    report: Callable[[int], None] = lambda _: None,
) -> Rotated:
    """Replace the master key of a deployment, or continue a rotation, whether or not servers run.

    If the deployment is on PostgreSQL, other servers may need the new key before secrets are sealed with it. The first
    call then only makes the key, unless `is_only_server` is true. `report` is called with the number of secrets that
    were sealed again. Raises `Refused`, `CannotStart` and `DataDirectoryError`.
    """
    database = directory.where(database)
    with directory.of_its_owner(), runtime.new_files_are_private():
        directory.refuse_others()
        opening.refuse_missing(directory, database)
    with directory.master_keys.rotating():
        return await _rotate_master(directory, database, is_only_server=is_only_server, report=report)


async def _rotate_master(
    directory: DataDirectory, database: str, *, is_only_server: bool, report: Callable[[int], None]
) -> Rotated:
    # A key that cannot read the secrets must not be replaced: the right one may be the one that would be lost.
    async with opening.administering(directory, database=database):
        pass
    with directory.of_its_owner(), runtime.new_files_are_private():
        is_new = directory.master_keys.begin_rotation()
    if is_new and database and not is_only_server:
        return Rotated(is_complete=False)
    async with opening.administering(directory, database=database) as store:
        # If this call continues a rotation, the secrets for mail may have been rotated before. A second time does no
        # harm, because all generations are accepted as long as they are needed.
        await store.write(partial(_rotate_mail, directory))
        count = await resealing.reseal(store, report=report)
        left = await store.long_read(lambda tx: tx.sealed_with_other_keys(), what="the sealed secrets")
    if left:
        raise Refused(
            f"{left} secrets are still sealed with the previous key, because a server has changed them. Run the "
            "command again."
        )
    if not master_key.is_master_key_in_environment():
        with directory.of_its_owner():
            directory.master_keys.end_rotation()
    return Rotated(is_complete=True, resealed=count)


async def rotate_mail(directory: DataDirectory, *, database: str = "") -> datetime:
    """Replace the secrets that sign rewritten senders and loop tokens. Return the time from which the new ones sign.

    Raises `Refused`, `CannotStart` and `DataDirectoryError`.
    """
    return await opening.administer(directory, partial(_rotate_mail, directory), database=database)


def _rotate_mail(directory: DataDirectory, tx: ports.WriteTx) -> datetime:
    return mail_secrets.rotate(
        tx,
        loop_key=directory.master_keys.derived("loop tokens"),
        srs_key=lambda period: directory.master_keys.derived(f"rewritten senders {period}"),
        root=secrets.token_bytes(32),
        now=now(),
    )
