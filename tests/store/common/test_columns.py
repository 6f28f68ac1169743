"""The column lists: every field of a value has a column, and the values of a row are read by column name."""

from dataclasses import dataclass

import pytest

from waypost.store.sql import tables
from waypost.store.sql.columns import Column, Columns, Kind


@dataclass(frozen=True)
class Owner:
    name: str
    age: int = 0


@dataclass(frozen=True)
class System:
    owner: Owner
    number: int
    secret: str = ""


NUMBER = Kind(int, str)
COLUMNS = (Column("owner_name", "owner.name"), Column("number", kind=NUMBER), Column("owner_age", "owner.age"))
SYSTEMS = Columns(System, *COLUMNS, Column("sealed", "secret", is_given=True))


def test_a_row_is_converted_to_a_value_and_back():
    system = SYSTEMS.read(("Ann", "7", 40, b"sealed"), "open")
    assert system == System(Owner("Ann", 40), 7, "open")
    assert SYSTEMS.write(system, b"sealed") == ("Ann", "7", 40, b"sealed")


def test_a_reader_can_begin_at_a_later_column():
    assert SYSTEMS.reader(start=2)(("d", "e", "Ann", "7", 40, b""), "open") == System(Owner("Ann", 40), 7, "open")
    assert SYSTEMS.get(("Ann", "7", 40, b""), "owner_age") == 40
    assert (len(SYSTEMS), SYSTEMS.names) == (4, ("owner_name", "number", "owner_age", "sealed"))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (COLUMNS, "System and its columns differ in secret"),
        ((*COLUMNS, Column("secret"), Column("colour")), "System and its columns differ in colour"),
        ((COLUMNS[0], COLUMNS[1], Column("secret")), "Owner and its columns differ in age"),
    ],
)
def test_a_field_without_a_column_is_found_when_the_program_starts(columns, message):
    with pytest.raises(TypeError, match=message):
        Columns(System, *columns)


def test_a_list_of_columns_can_be_selected_from_a_table_under_its_alias():
    assert tables.columns("alias_link_ends", "l") == "l.email_address_id, l.side, l.other_id, l.created_at"
