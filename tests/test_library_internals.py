"""The internals of libraries that Waypost uses have not changed since their code was last reviewed.

`pyproject.toml` bounds the versions of these libraries from above, except those that users' tests choose. If a test
here fails after an update, read the changes in the library, adapt the code that the table names, and then write the new
digest into the table.
"""

import inspect
import re
import tomllib
from hashlib import sha256
from importlib import metadata
from pathlib import Path

import aiohttp.client_proto
import aiohttp.connector
import aiohttp.streams
import boto3
import botocore.session
import botocore.signers
import dkim
import pytest
import spf
from testcontainers.core.container import DockerContainer
from testcontainers.core.waiting_utils import WaitStrategy

from waypost.mailauth import spf_check

LIBRARIES = ("aiohttp", "dkimpy", "pyspf", "testcontainers")

OF_USERS = ("boto3", "botocore")
"""The libraries whose versions users' tests choose, so that Waypost cannot bound them."""

WEBHOOK = (
    "delivery.webhook._bounded closes the connection of a receiver that sends too many bytes, or more than one "
    "response; aiohttp has no setting for this"
)
SPF = "mailauth.spf_check._Query makes the DNS look-ups of an evaluation itself, limits them, and counts void look-ups"
DKIM = (
    "mailauth.dkim_check verifies the header against a body hash that it has computed itself, once for all signatures"
)
SIGNING = (
    "testing.environment signs requests to the server with its key, whatever key a client has: it adds a handler to "
    "those of each new session, which puts the key into the context of the request"
)
SESSION = "testing.environment replaces boto3's default session, which remembers the access key that it finds first"
CONTAINER = "testing.containers adds a variable to the container before its start, when the host of the engine is known"
TIMEOUT = "testing.containers waits with the time limit that users set with `with_startup_timeout`"

USED = {
    "aiohttp TCPConnector._wrap_create_connection": (
        aiohttp.connector.TCPConnector._wrap_create_connection,
        "7d64ce083616",
        WEBHOOK,
    ),
    "aiohttp BaseConnector.__init__": (aiohttp.connector.BaseConnector.__init__, "99db6b24033b", WEBHOOK),
    "aiohttp ResponseHandler.data_received": (
        aiohttp.client_proto.ResponseHandler.data_received,
        "9bf7ecf8e505",
        WEBHOOK,
    ),
    "aiohttp ResponseHandler.set_response_params": (
        aiohttp.client_proto.ResponseHandler.set_response_params,
        "2eb047e32248",
        WEBHOOK,
    ),
    "aiohttp DataQueue.feed_data": (aiohttp.streams.DataQueue.feed_data, "632cf6724ef9", WEBHOOK),
    "pyspf query.__init__": (spf.query.__init__, "c87cfefbb617", SPF),
    "pyspf query.dns": (spf.query.dns, "63ad0ef0805e", SPF),
    "pyspf query.get_explanation": (spf.query.get_explanation, "97223a01ee71", SPF),
    "pyspf query.validated_ptrs": (spf.query.validated_ptrs, "2b0b3bc7714f", SPF),
    "dkimpy DKIM.verify_headerprep": (dkim.DKIM.verify_headerprep, "68d5ef213883", DKIM),
    "dkimpy DKIM.verify_sig_process": (dkim.DKIM.verify_sig_process, "ab008897178a", DKIM),
    "dkimpy evaluate_pk": (dkim.evaluate_pk, "34a4ff7fe602", DKIM),
    "botocore Session._register_builtin_handlers": (
        botocore.session.Session._register_builtin_handlers,
        "0a4060d2bd37",
        SIGNING,
    ),
    "botocore RequestSigner.sign": (botocore.signers.RequestSigner.sign, "b066ac228d0a", SIGNING),
    "botocore RequestSigner.get_auth_instance": (
        botocore.signers.RequestSigner.get_auth_instance,
        "cef293447a8f",
        SIGNING,
    ),
    "boto3 _get_default_session": (boto3._get_default_session, "14778be7fe6d", SESSION),
    "testcontainers DockerContainer.start": (DockerContainer.start, "58fed9604a7e", CONTAINER),
    "testcontainers WaitStrategy.__init__": (WaitStrategy.__init__, "0578dafc72e7", TIMEOUT),
    "testcontainers WaitStrategy.with_startup_timeout": (WaitStrategy.with_startup_timeout, "282efa102042", TIMEOUT),
}


@pytest.mark.parametrize("name", USED)
def test_the_internals_of_libraries_have_not_changed(name):
    used, digest, reason = USED[name]
    found = sha256(inspect.getsource(used).encode()).hexdigest()[:12]
    library = name.partition(" ")[0]
    assert found == digest, (
        f"{name} has changed in {library} {metadata.version(library)}. Waypost depends on it: {reason}. Check that the "
        f"code still works, and then write {found} into the table."
    )


def test_each_overridden_method_is_in_the_table():
    """If a method of a subclass is not in the base class, the library has renamed it, and would never call ours."""
    methods = vars(spf_check._Query).items()
    overriding = {name for name, of in methods if inspect.isfunction(of) and not name.startswith("_")}
    assert overriding <= vars(spf.query).keys()
    assert {f"pyspf query.{name}" for name in overriding} <= USED.keys()


@pytest.mark.parametrize("library", LIBRARIES)
def test_each_library_whose_internals_are_used_has_an_upper_bound(library):
    project = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text(encoding="utf-8"))["project"]
    bounds = [*project["dependencies"], *project["optional-dependencies"]["testcontainers"]]
    (bound,) = [each for each in bounds if re.match(rf"{library}\b", each)]
    lower, upper = re.fullmatch(rf"{library}>=([0-9.]+),<([0-9.]+)", bound).groups()
    least, found, most = ([int(part) for part in text.split(".")] for text in (lower, metadata.version(library), upper))
    assert least <= found < most


def test_the_list_of_libraries_matches_the_table():
    assert {name.partition(" ")[0] for name in USED} == {*LIBRARIES, *OF_USERS}
