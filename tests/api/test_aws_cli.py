"""Tests with the unmodified AWS CLI, which finds the server through the output of `waypost env`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from waypost.api.wire import shapes

AWS = Path(sys.executable).with_name("aws")


@pytest.fixture(scope="module")
def environment(server, tmp_path_factory):
    """The variables that `waypost env` prints, without the machine's own AWS settings."""
    command = [sys.executable, "-m", "waypost", "env", "--json", "--data", str(server.data)]
    printed = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    home = str(tmp_path_factory.mktemp("home"))
    variables = {name: value for name, value in printed.items() if value is not None}
    return {"PATH": os.environ["PATH"], "HOME": home, "AWS_MAX_ATTEMPTS": "1", **variables}


# This program does the work of the command `aws`, for many command lines in one process. The command needs half a
# second to start, and a fifth of a second to build its driver.
COMMAND_LINE = """
import contextlib, io, json, sys
from awscli.clidriver import create_clidriver
driver = create_clidriver()
for line in sys.stdin:
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        code = driver.main(json.loads(line))
    print(json.dumps([code, out.getvalue(), err.getvalue()]), flush=True)
"""


@pytest.fixture(scope="module")
def aws(environment):
    """Run `aws connect` with these options; return the exit code, and the text on both output streams."""
    command, called = [sys.executable, "-c", COMMAND_LINE], set()
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True, env=environment) as process:

        def aws(operation, **options):
            called.add(operation)
            words = [word for name, values in options.items() for word in (f"--{name}", *(values or "").split())]
            print(json.dumps(["connect", operation, *words, "--output", "json"]), file=process.stdin, flush=True)
            return json.loads(process.stdout.readline())

        aws.called = called
        yield aws


@pytest.fixture(scope="module")
def answer(aws):
    """Run `aws connect`, check that it succeeds, and return its output."""

    def answer(operation, **options):
        code, shown, error = aws(operation, **options)
        assert (code, error) == (0, ""), (operation, error)
        return json.loads(shown) if shown else None

    return answer


def test_the_command_finds_the_server_through_its_environment(environment):
    options = ["--instance-id", environment["WAYPOST_INSTANCE_ID"], "--output", "json"]
    command = [AWS, "connect", "describe-instance", *options]
    shown = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)
    assert shown["Instance"]["Id"] == environment["WAYPOST_INSTANCE_ID"]


def test_the_command_line_has_every_operation(aws, answer, spelling):
    calls = {"inbound-calls-enabled": None, "no-outbound-calls-enabled": None}
    made = answer("create-instance", **{"identity-management-type": "SAML", **calls})
    own = {"instance-id": made["Id"]}
    assert answer("describe-instance", **own)["Instance"]["Arn"] == made["Arn"]
    assert answer("list-instances", **{"max-items": "1"})["InstanceSummaryList"]

    primary, alias = (
        answer("create-email-address", **own, **{"email-address": spelling(), "tags": "team=blue"}) for _ in range(2)
    )
    path = {**own, "email-address-id": primary["EmailAddressId"]}
    link = {**path, "alias-configuration": f"EmailAddressId={alias['EmailAddressId']}"}
    assert answer("associate-email-address-alias", **link) is None
    updated = answer("update-email-address-metadata", **path, **{"display-name": "Käse"})
    assert updated == {name: primary[name] for name in ("EmailAddressId", "EmailAddressArn")}
    shown = answer("describe-email-address", **path)
    assert shown["AliasConfigurations"] == [{"EmailAddressId": alias["EmailAddressId"]}]
    assert (shown["DisplayName"], shown["Tags"]) == ("Käse", {"team": "blue"})

    resource = {"resource-arn": primary["EmailAddressArn"]}
    assert answer("tag-resource", **resource, tags="team=red,cost=1") is None
    assert answer("untag-resource", **resource, **{"tag-keys": "cost other"}) is None
    assert answer("list-tags-for-resource", **resource) == {"tags": {"team": "red"}}
    criteria = "StringCondition={FieldName=displayName,ComparisonType=STARTS_WITH,Value=KÄS}"
    filters = "TagFilter={TagCondition={TagKey=team,TagValue=red}}"
    found = answer("search-email-addresses", **own, **{"search-criteria": criteria, "search-filter": filters})
    assert [each["EmailAddressId"] for each in found["EmailAddresses"]] == [primary["EmailAddressId"]]

    assert answer("disassociate-email-address-alias", **link) is None
    code, _, error = aws("disassociate-email-address-alias", **link)
    assert code != 0
    assert "(ResourceNotFoundException) when calling the DisassociateEmailAddressAlias operation" in error
    assert f"Email address {alias['EmailAddressId']} is not an alias of {primary['EmailAddressId']}" in error

    assert answer("delete-email-address", **path) is None
    assert answer("delete-instance", **own) is None
    code, _, error = aws("describe-instance", **own)
    assert "ResourceNotFoundException" in error
    assert aws.called == {shapes.snake_case(operation).replace("_", "-") for operation in shapes.load().operations}
