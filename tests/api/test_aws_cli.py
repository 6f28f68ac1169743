"""The unmodified AWS CLI, pointed at the server by `waypost env`."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

AWS = Path(sys.executable).with_name("aws")


@pytest.fixture(scope="module")
def environment(server, tmp_path_factory):
    """What `waypost env` says, and nothing of the machine's own AWS settings."""
    command = [sys.executable, "-m", "waypost", "env", "--json", "--data", str(server.data)]
    said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    home = str(tmp_path_factory.mktemp("home"))
    return {"PATH": os.environ["PATH"], "HOME": home, "AWS_PAGER": "", "AWS_MAX_ATTEMPTS": "1", **said}


@pytest.fixture(scope="module")
def aws(environment):
    """Run `aws connect` with these arguments, in the instance that `waypost env` names."""

    def aws(operation, **options):
        options = {"instance-id": environment["WAYPOST_INSTANCE_ID"], **options}
        arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
        command = [AWS, "connect", operation, *arguments, "--output", "json"]
        return subprocess.run(command, check=False, capture_output=True, text=True, env=environment)

    return aws


@pytest.fixture(scope="module")
def pair(aws, spelling):
    """The ids of two email addresses, made by two commands side by side."""

    def create(_):
        created = aws("create-email-address", **{"email-address": spelling()})
        assert created.returncode == 0, created.stderr
        return json.loads(created.stdout)["EmailAddressId"]

    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(create, range(2)))


def test_the_command_line_makes_shows_and_ends_a_link(aws, pair):
    primary, alias = pair
    path = {"email-address-id": primary}
    link = {**path, "alias-configuration": f"EmailAddressId={alias}"}

    made = aws("associate-email-address-alias", **link)
    assert (made.returncode, made.stdout, made.stderr) == (0, "", "")
    shown = json.loads(aws("describe-email-address", **path).stdout)
    assert shown["AliasConfigurations"] == [{"EmailAddressId": alias}]
    ended = aws("disassociate-email-address-alias", **link)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")

    refused = aws("disassociate-email-address-alias", **link)
    assert refused.returncode != 0
    assert "(ResourceNotFoundException) when calling the DisassociateEmailAddressAlias operation" in refused.stderr
    assert f"Email address {alias} is not an alias of {primary}" in refused.stderr
