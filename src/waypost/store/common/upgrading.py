"""What an upgrade of a database would do, for both databases."""

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from waypost.app.ports.upgrades import PlannedMigration, Upgrade
from waypost.store import migrations
from waypost.store.migrations import statements


def planned(
    dialect: str, applied: Sequence[migrations.Applied], rows: Callable[[str], int | None], *, where: str
) -> Upgrade:
    """Return what an upgrade would do. `rows` returns about how many rows a table has, or None if it does not exist or
    the number is not known. Raises `SchemaTooNew`.
    """
    return Upgrade(
        where,
        migrations.newest_of(applied),
        tuple(
            PlannedMigration(
                step.number,
                step.name,
                step.kind.value,
                step.what,
                tuple(replace(effect, rows=rows(effect.table)) for effect in statements.effects(step)),
            )
            for step in migrations.pending(dialect, applied, where=where)
        ),
    )
