"""The fields that a search may name."""

import pytest

from waypost.api import searching
from waypost.domain import errors
from waypost.domain.search import Field

FIELDS = {
    "emailAddress": Field.ADDRESS,
    "EMAILADDRESS": Field.ADDRESS,
    "displayName": Field.DISPLAY_NAME,
    "displayname": Field.DISPLAY_NAME,
    "Description": Field.DESCRIPTION,
    "emailAddressId": Field.ID,
    "resourceId": Field.ID,
    "RESOURCEID": Field.ID,
}


@pytest.mark.parametrize(("name", "field"), FIELDS.items())
def test_a_field_has_its_name_in_any_letter_case(name, field):
    assert searching._field(name) is field


@pytest.mark.parametrize("name", ["", "name", "emailAddress ", "email_address", "EmailAddressArn"])
def test_a_field_that_cannot_be_searched_is_named_with_those_that_can(name):
    with pytest.raises(errors.Invalid) as caught:
        searching._field(name)
    assert repr(name) in caught.value.message
    assert all(known in caught.value.message for known in searching.FIELD_NAMES)


def test_of_a_long_name_the_beginning_is_quoted():
    with pytest.raises(errors.Invalid) as caught:
        searching._field("x" * 1000)
    assert len(caught.value.message) < 300
