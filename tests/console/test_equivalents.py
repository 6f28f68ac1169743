"""The forms of a call that pages show: a person who copies them makes the same call."""

import os
import subprocess
import sys
from pathlib import Path

import boto3
import pytest

from tests.kit.console_places import forms_in
from waypost.console import equivalents
from waypost.console.calls import Call

HOSTILE = {
    "quotes": """it's "quoted" \\ and `echo no` $(echo no) ${HOME} $HOME!""",
    "lines": "first\n  second\ttab\n",
    "letters": "Straße 中文 \U0001f600 \u202e",
    "a file": "file:///etc/passwd",
    "a URL": "http://127.0.0.1:1/x",
    "an option": "--output",
    "a hyphen": "-",
    "JSON": '{"a": [1]}',
    "a shorthand": "Key=a,Value=b",
    "a comment": "# no comment; true && false | cat > x",
}
"""Texts that a shell, the AWS CLI or Python could take for something else."""


@pytest.fixture
def environment(console):
    """The variables with which the AWS CLI and boto3 have the credentials of the server."""
    key = console.system.server.profile.key
    return {
        "AWS_ACCESS_KEY_ID": key.id,
        "AWS_SECRET_ACCESS_KEY": key.secret,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_PAGER": "",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }


def run_in_a_shell(command, environment):
    directory = Path(sys.executable).parent
    if not (directory / "aws").exists():
        pytest.skip("there is no AWS CLI")
    path = f"{directory}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-c", command],
        env=os.environ | environment | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_in_python(lines, environment, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # it keeps the credentials of its first client
    exec(lines, {})


@pytest.mark.parametrize("form", ["cli", "boto3"])
def test_the_shown_forms_of_a_link_do_the_same_again(place, environment, monkeypatch, form):
    primary, alias = place.create("desk"), place.create("support")
    place.get(primary)
    page = place.follow(place.post(primary, "associate", {"alias": alias}))
    cli, lines = forms_in(page)[:2]
    undone = place.follow(place.post(primary, "disassociate", {"alias": alias}))
    undo_cli, undo_lines = forms_in(undone)[:2]
    assert place.describe(primary)["AliasConfigurations"] == []

    def run(command, python):
        if form == "cli":
            run_in_a_shell(command, environment)
        else:
            run_in_python(python, environment, monkeypatch)

    run(cli, lines)
    assert place.describe(primary)["AliasConfigurations"] == [{"EmailAddressId": alias}]
    run(undo_cli, undo_lines)
    assert place.describe(primary)["AliasConfigurations"] == []


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_boto3_lines_pass_any_text(place, environment, monkeypatch, text):
    call = texts_of_new_address(place, text)
    lines = equivalents.boto3_lines(call, endpoint=place.console.system.server.url)
    run_in_python(lines, environment, monkeypatch)
    assert texts_in(place) == (text, text, {"Team": text})


@pytest.mark.slow
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_the_command_line_passes_any_text(place, environment, text):
    call = texts_of_new_address(place, text)
    run_in_a_shell(equivalents.aws_cli(call, endpoint=place.console.system.server.url), environment)
    assert texts_in(place) == (text, text, {"Team": text})


@pytest.mark.long
@pytest.mark.slow
def test_each_operation_of_the_pages_has_its_command(place, environment):
    own = place.create("desk")
    arn = place.describe(own)["EmailAddressArn"]
    of_own = {"InstanceId": place.instance_id, "EmailAddressId": own}
    criteria = {"FieldName": "emailAddress", "Value": "desk", "ComparisonType": "STARTS_WITH"}
    search = {"InstanceId": place.instance_id, "MaxResults": 50, "SearchCriteria": {"StringCondition": criteria}}
    for operation, members in [
        ("UpdateEmailAddressMetadata", {**of_own, "DisplayName": ""}),
        ("TagResource", {"resourceArn": arn, "tags": {"a b": "c"}}),
        ("UntagResource", {"resourceArn": arn, "tagKeys": ["a b"]}),
        ("SearchEmailAddresses", search),
        ("DeleteEmailAddress", of_own),
        (
            "CreateInstance",
            {"IdentityManagementType": "SAML", "InboundCallsEnabled": True, "OutboundCallsEnabled": False},
        ),
    ]:
        call = Call(operation, place.connect.meta.region_name, members)
        output = run_in_a_shell(equivalents.aws_cli(call, endpoint=place.console.system.server.url), environment)
        assert (place.address("desk") in output) is (operation == "SearchEmailAddresses")


def test_both_forms_have_the_endpoint_and_the_region():
    call = Call("ListInstances", "eu-west-1", {})
    found = equivalents.of(call, endpoint="http://[::1]:8025")
    assert found.cli == "aws connect list-instances \\\n  --region eu-west-1 \\\n  --endpoint-url 'http://[::1]:8025'"
    assert found.boto3 == (
        "import boto3\n\n"
        "connect = boto3.client(\"connect\", region_name='eu-west-1', endpoint_url='http://[::1]:8025')\n"
        "connect.list_instances()"
    )


def test_options_of_yes_and_no_are_flags():
    call = Call("CreateInstance", "us-east-1", {"InboundCallsEnabled": True, "OutboundCallsEnabled": False})
    command = equivalents.aws_cli(call, endpoint="http://127.0.0.1:8025")
    assert "--inbound-calls-enabled \\\n  --no-outbound-calls-enabled \\\n" in command


def texts_of_new_address(place, text):
    members = {
        "InstanceId": place.instance_id,
        "EmailAddress": place.address("desk"),
        "DisplayName": text,
        "Description": text,
        "Tags": {"Team": text},
    }
    return Call("CreateEmailAddress", place.connect.meta.region_name, members)


def texts_in(place):
    found = place.connect.search_email_addresses(InstanceId=place.instance_id)["EmailAddresses"]
    described = place.describe(found[0]["EmailAddressId"])
    return described["DisplayName"], described["Description"], described["Tags"]
