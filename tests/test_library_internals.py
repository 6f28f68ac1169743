"""The internals of libraries that Waypost uses have not changed since their code was last reviewed.

`pyproject.toml` bounds the versions of these libraries from above. If a test here fails after an update, read the
changes in the library, adapt the code that the table names, and then write the new digest into the table.
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
import dkim
import pytest
import spf
import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from waypost.mailauth import spf_check
from waypost.server.http import connection, server

LIBRARIES = ("aiohttp", "dkimpy", "pyspf", "uvicorn")

HTTP = (
    "server.http.connection.HttpConnection limits the size and the duration of requests, and ignores Upgrade; "
    "server.http.connection.Answer recognizes the head of a response by the time when uvicorn writes it, and sends it "
    "with the body"
)
SERVER = "server.http.server.HttpServer runs in Waypost's event loop, handles no signals, and stops immediately"
WEBHOOK = (
    "delivery.webhook._bounded closes the connection of a receiver that sends too many bytes, or more than one "
    "response; aiohttp has no setting for this"
)
SPF = "mailauth.spf_check._Query makes the DNS look-ups of an evaluation itself, limits them, and counts void look-ups"
DKIM = (
    "mailauth.dkim_check verifies the header against a body hash that it has computed itself, once for all signatures"
)

USED = {
    "uvicorn HttpToolsProtocol.__init__": (HttpToolsProtocol.__init__, "4f0899941034", HTTP),
    "uvicorn HttpToolsProtocol.connection_made": (HttpToolsProtocol.connection_made, "6efb565ff3d3", HTTP),
    "uvicorn HttpToolsProtocol.connection_lost": (HttpToolsProtocol.connection_lost, "c91a4c9bf2e2", HTTP),
    "uvicorn HttpToolsProtocol.data_received": (HttpToolsProtocol.data_received, "010a7ae59a5d", HTTP),
    "uvicorn HttpToolsProtocol.on_message_begin": (HttpToolsProtocol.on_message_begin, "96d377fdc7c2", HTTP),
    "uvicorn HttpToolsProtocol.on_header": (HttpToolsProtocol.on_header, "65d62c044f61", HTTP),
    "uvicorn HttpToolsProtocol.on_headers_complete": (HttpToolsProtocol.on_headers_complete, "1ea8589acfad", HTTP),
    "uvicorn HttpToolsProtocol.on_response_complete": (HttpToolsProtocol.on_response_complete, "64e254f28e38", HTTP),
    "uvicorn HttpToolsProtocol.on_body": (HttpToolsProtocol.on_body, "dba9c32aeba3", HTTP),
    "uvicorn HttpToolsProtocol.on_message_complete": (HttpToolsProtocol.on_message_complete, "1fbad42dc31f", HTTP),
    "uvicorn HttpToolsProtocol.shutdown": (HttpToolsProtocol.shutdown, "d7351fa33f00", HTTP),
    "uvicorn RequestResponseCycle.__init__": (RequestResponseCycle.__init__, "4d2f220910c3", HTTP),
    "uvicorn RequestResponseCycle.run_asgi": (RequestResponseCycle.run_asgi, "0f33f2449a44", HTTP),
    "uvicorn RequestResponseCycle.send": (RequestResponseCycle.send, "abdd8601b326", HTTP),
    "uvicorn RequestResponseCycle.receive": (RequestResponseCycle.receive, "8124ae006be7", HTTP),
    "uvicorn FlowControl": (FlowControl, "126debcdaa89", HTTP),
    "uvicorn Server.serve": (uvicorn.Server.serve, "112ef41af521", SERVER),
    "uvicorn Server.startup": (uvicorn.Server.startup, "2aa1d70a244b", SERVER),
    "uvicorn Server.main_loop": (uvicorn.Server.main_loop, "afccb353a119", SERVER),
    "uvicorn Server.on_tick": (uvicorn.Server.on_tick, "60ea49b06ccf", SERVER),
    "uvicorn Server.capture_signals": (uvicorn.Server.capture_signals, "e1bbcd4770d1", SERVER),
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
    for subclass, base, library in (
        (connection.HttpConnection, HttpToolsProtocol, "uvicorn HttpToolsProtocol"),
        (server.HttpServer, uvicorn.Server, "uvicorn Server"),
        (spf_check._Query, spf.query, "pyspf query"),
    ):
        public = {name for name, of in vars(subclass).items() if inspect.isfunction(of) and not name.startswith("_")}
        overriding = public - {"start", "stop", "second_passed", "check_time", "write_out"}
        assert overriding <= vars(base).keys()
        assert {f"{library}.{name}" for name in overriding} <= USED.keys()


@pytest.mark.parametrize("library", LIBRARIES)
def test_each_library_whose_internals_are_used_has_an_upper_bound(library):
    project = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text(encoding="utf-8"))["project"]
    (bound,) = [each for each in project["dependencies"] if re.match(rf"{library}\b", each)]
    lower, upper = re.fullmatch(rf"{library}>=([0-9.]+),<([0-9.]+)", bound).groups()
    least, found, most = ([int(part) for part in text.split(".")] for text in (lower, metadata.version(library), upper))
    assert least <= found < most


def test_the_list_of_libraries_matches_the_table():
    assert {name.partition(" ")[0] for name in USED} == set(LIBRARIES)
