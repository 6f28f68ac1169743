"""What the statements of a migration mean for other clients of the database, and which statements a migration may have.

Source: https://www.postgresql.org/docs/current/explicit-locking.html#LOCKING-TABLES
"""

import re
from collections.abc import Callable, Collection, Iterator, Sequence

from msgspec import Struct

from waypost.app.ports.upgrades import Blocks, Effect, Lasts
from waypost.store.migrations import LAST_OF_0_1_0, Kind, Migration

_COMMENT_OR_TEXT = re.compile(r"--[^\n]*|'(?:[^']|'')*'")
_STATEMENT = re.compile(r"(?:[^;']|'(?:[^']|'')*')+")

CREATED_INDEX = re.compile(r"CREATE (?:UNIQUE )?INDEX CONCURRENTLY IF NOT EXISTS (\w+) ON (\w+)")
ADDED_CONSTRAINT = re.compile(r"ALTER TABLE (\w+) ADD CONSTRAINT (\w+) .*\bNOT VALID$")

_CHECKED_COLUMN = r"\b(?:CONSTRAINT|UNIQUE|PRIMARY KEY|REFERENCES|CHECK|GENERATED|DEFAULT (?!'|-?\d|true|false))"


class Rule(Struct, frozen=True):
    """A kind of statement, recognised by its beginning. The pattern's group `table` is the table that it is about."""

    pattern: re.Pattern[str]
    blocks: Blocks
    lasts: Lasts
    kinds: Collection[Kind] = ()
    """The kinds of migrations that may contain it, if the table exists before the migration."""
    instead: str = ""
    """What to write instead, if no kind of migration may contain it."""
    removes: bool = False
    """Whether versions that still use the table, column or constraint cannot use the database afterwards."""


def _rule(beginning: str, blocks: Blocks, lasts: Lasts, *kinds: Kind, instead: str = "", removes: bool = False) -> Rule:
    return Rule(re.compile(beginning), blocks, lasts, kinds, instead, removes)


_TRANSACTION, _CONCURRENTLY = Kind.TRANSACTION, Kind.CONCURRENTLY

RULES = (
    _rule(r"CREATE (?:VIRTUAL )?TABLE (?P<table>\w+)", Blocks.NOTHING, Lasts.MOMENT, _TRANSACTION),
    _rule(
        r"CREATE (?:UNIQUE )?INDEX CONCURRENTLY IF NOT EXISTS \w+ ON (?P<table>\w+)",
        *(Blocks.NOTHING, Lasts.ROWS, _CONCURRENTLY),
    ),
    _rule(
        r"CREATE (?:UNIQUE )?INDEX (?:CONCURRENTLY )?(?:IF NOT EXISTS )?(?:\w+ )?ON (?P<table>\w+)",
        *(Blocks.WRITES, Lasts.ROWS),
        instead="CREATE INDEX CONCURRENTLY IF NOT EXISTS, in a migration of the kind concurrently",
    ),
    _rule(r"DROP INDEX CONCURRENTLY IF EXISTS \w+", Blocks.NOTHING, Lasts.MOMENT, _CONCURRENTLY),
    _rule(
        r"DROP INDEX \w+",
        *(Blocks.EVERYTHING, Lasts.MOMENT),
        instead="DROP INDEX CONCURRENTLY IF EXISTS, in a migration of the kind concurrently",
    ),
    _rule(
        rf"ALTER TABLE (?P<table>\w+) ADD COLUMN .*{_CHECKED_COLUMN}",
        *(Blocks.EVERYTHING, Lasts.ROWS),
        instead="ADD COLUMN with a constant default and without a constraint, then ADD CONSTRAINT … NOT VALID",
    ),
    _rule(r"ALTER TABLE (?P<table>\w+) ADD COLUMN ", Blocks.EVERYTHING, Lasts.MOMENT, _TRANSACTION),
    _rule(
        r"ALTER TABLE (?P<table>\w+) ADD CONSTRAINT .*\bNOT VALID$",
        *(Blocks.EVERYTHING, Lasts.MOMENT, _TRANSACTION, _CONCURRENTLY),
    ),
    _rule(
        r"ALTER TABLE (?P<table>\w+) ADD CONSTRAINT ",
        *(Blocks.EVERYTHING, Lasts.ROWS),
        instead="ADD CONSTRAINT … NOT VALID, and VALIDATE CONSTRAINT in a migration of the kind concurrently",
    ),
    _rule(r"ALTER TABLE (?P<table>\w+) VALIDATE CONSTRAINT ", Blocks.NOTHING, Lasts.ROWS, _CONCURRENTLY),
    _rule(
        r"ALTER TABLE (?P<table>\w+) ALTER COLUMN \w+ (?:SET|DROP) DEFAULT",
        *(Blocks.EVERYTHING, Lasts.MOMENT, _TRANSACTION),
    ),
    _rule(
        r"ALTER TABLE (?P<table>\w+) ALTER COLUMN \w+ (?:DROP NOT NULL|SET STORAGE)",
        *(Blocks.EVERYTHING, Lasts.MOMENT, _TRANSACTION),
    ),
    _rule(
        r"ALTER TABLE (?P<table>\w+) ALTER COLUMN ",
        *(Blocks.EVERYTHING, Lasts.ROWS),
        instead="a new column, which the program fills, or CHECK (… IS NOT NULL) NOT VALID",
    ),
    _rule(
        r"ALTER TABLE (?P<table>\w+) DROP (?:COLUMN|CONSTRAINT) ",
        *(Blocks.EVERYTHING, Lasts.MOMENT, _TRANSACTION),
        removes=True,
    ),
    _rule(r"DROP TABLE (?P<table>\w+)", Blocks.EVERYTHING, Lasts.MOMENT, _TRANSACTION, removes=True),
    _rule(
        r"(?:UPDATE|DELETE FROM|INSERT INTO) (?P<table>\w+)",
        *(Blocks.WRITES, Lasts.ROWS),
        instead="a background job of the server, which changes a few rows in each transaction",
    ),
)
"""All statements that migrations have. The first rule that matches a statement applies. A statement that changes only a
table of the same migration blocks nobody, so a migration of the kind `transaction` may contain it.
"""

_UNKNOWN = _rule("", Blocks.EVERYTHING, Lasts.ROWS, instead="a statement that the rules list")


def statements(sql: str) -> list[str]:
    """Return the statements of a migration without comments, each on one line. The SQL has no dollar quotes."""
    bare = _COMMENT_OR_TEXT.sub(lambda found: "" if found[0].startswith("--") else found[0], sql)
    return [" ".join(one.split()) for one in _STATEMENT.findall(bare) if one.strip()]


def effects(step: Migration) -> list[Effect]:
    """Return what a migration means for tables that exist before it, without what blocks nobody for a moment. No rule
    knows the triggers of SQLite.
    """
    found: dict[Effect, None] = {}
    for _, rule, table in _judged(step):
        if rule is not _UNKNOWN and (rule.blocks, rule.lasts) != (Blocks.NOTHING, Lasts.MOMENT):
            found[Effect(table, rule.blocks, rule.lasts)] = None
    return list(found)


def faults(step: Migration, dialect: str) -> Iterator[str]:
    """Yield a sentence for each reason why a migration after those of version 0.1.0 must not be added."""
    if step.number <= LAST_OF_0_1_0[dialect]:
        return
    name = f"{step.number:04}_{step.name}.{dialect}.sql"
    if f"-- kind: {step.kind}\n" not in step.sql:
        yield f"{name} declares no kind. Add a line to the comment at its beginning: -- kind: {_TRANSACTION}"
    if dialect == "sqlite" and step.kind is _CONCURRENTLY:
        yield f"{name} cannot have the kind concurrently: SQLite has one writer."
    if re.search(r"\bRENAME\b", step.sql):
        yield f"{name} renames something that the previous version uses. Add a new table or column instead."
    judged = list(_judged(step))
    for statement, rule, _ in judged:
        if rule.removes and not step.needs:
            yield f"{name} removes something. Declare which migration a version must know: -- needs: NNNN. {statement}"
        if dialect == "postgres" and step.kind not in rule.kinds:
            instead = rule.instead or "it in a migration of another kind"
            yield f"{name} may block clients, or cannot be repeated. Write {instead}: {statement}"
    locked = {table for _, rule, table in judged if rule.blocks is Blocks.EVERYTHING}
    if dialect == "postgres" and step.kind is _TRANSACTION and len(locked) > 1:
        yield f"{name} locks {', '.join(sorted(locked))} until its end. Change each table in a migration of its own."


def _judged(step: Migration) -> Iterator[tuple[str, Rule, str]]:
    """Yield each statement of a migration that is about an existing table, its rule, and the table."""
    own = set[str]()
    for statement in statements(step.sql):
        rule = next((rule for rule in RULES if rule.pattern.match(statement)), _UNKNOWN)
        found = rule.pattern.match(statement)
        table = (found.groupdict().get("table") or "") if found else ""
        if rule is RULES[0] and step.kind is _TRANSACTION:
            own.add(table)
        if table not in own or not table:
            yield statement, rule, table


def in_transaction(step: Migration) -> Sequence[str]:
    """Return what to run for a migration in one transaction: on a new database also for the kind `concurrently`."""
    if step.kind is Kind.TRANSACTION:
        return [step.sql]
    return [one.replace(" CONCURRENTLY", "") for one in statements(step.sql)]


def repeatable(step: Migration, exists: Callable[[str], bool]) -> Sequence[str]:
    """Return the statements of a migration of the kind `concurrently` that must run. `exists` says whether a constraint
    exists. If an interrupted attempt has added it, it is not added again.
    """
    found = ((one, ADDED_CONSTRAINT.match(one)) for one in statements(step.sql))
    return [one for one, added in found if not (added and exists(added[2]))]
