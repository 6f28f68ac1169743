"""The OpenAPI description of the inspection API."""

import pytest

from waypost.app import inspection_schema as schema
from waypost.inspection import openapi
from waypost.inspection.operations import OPERATIONS


@pytest.fixture(scope="module")
def described():
    return openapi.description("/_waypost")


def validate(description):
    import schemathesis  # here, because the import takes half a second in each process that collects tests

    schemathesis.openapi.from_dict(description).validate()


def test_the_description_is_valid(described):
    validate(described)


def test_an_invalid_description_is_found():
    with pytest.raises(Exception, match="summary"):
        validate(
            {
                "openapi": "3.1.0",
                "info": {"title": "x", "version": "1"},
                "paths": {"/x": {"get": {"summary": 5, "responses": {}}}},
            }
        )


def test_every_response_of_the_schema_is_described():
    answers = {f"{one.method} {one.path}".replace("{id}", "ID").replace("{number}", "N") for one in OPERATIONS}
    assert set(schema.ANSWERS) <= answers


def test_every_operation_says_which_action_it_needs(described):
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            is_open = path.rpartition("/")[2] in {"health", "ready", "openapi.json"}
            or_none = [{}] if path.endswith("/metrics") else []
            assert operation["security"] == ([] if is_open else [{"accessKey": []}, *or_none]), (path, method)
            assert is_open or "waypost:" in operation["description"]
            assert {"200", "4XX", "5XX"} == set(operation["responses"])


def test_the_members_of_a_response_have_their_notes(described):
    counted = described["components"]["schemas"]["Counted"]
    assert counted["properties"]["refused"] == {"type": "integer", "description": "refusals"}
    assert counted["required"] == ["accepted", "dead", "deferred", "delivered", "refused", "start"]
