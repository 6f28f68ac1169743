"""Who may read the metrics: programs on the server's machine, and callers with a key of the server's owner."""

import asyncio
from datetime import UTC, datetime

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from waypost.app.limit_state import OwnState
from waypost.app.rate_limits import FailedSignatures
from waypost.domain.iam.actions import INSPECT
from waypost.inspection.guard import Guard
from waypost.inspection.metrics import MetricsPage

OWNER = "000000000000"
LOCAL = {"client": "127.0.0.1", "server": "127.0.0.1", "host": "127.0.0.1:8025"}


class NoKeys:
    """A store without access keys."""

    async def read(self, use_case):
        return None


def status_of(request):
    """Return the status of the response to a request for the metrics."""
    page = MetricsPage(lambda accept: asyncio.sleep(0, (b"text", "text/plain")), owner=OWNER)
    keeper = Guard(
        NoKeys(),
        failures=FailedSignatures(OwnState()),
        clock=lambda: datetime(2026, 12, 1, tzinfo=UTC),
        emit=lambda _: None,
        own_names=frozenset({"mail.example"}),
    )

    async def answer():
        try:
            response = await keeper.page(page.metrics, INSPECT, local_account=OWNER)(request)
        except HTTPException as error:
            return error.status_code
        return response.status_code

    return asyncio.run(answer())


def request(*, client, server, host, **fields):
    headers = {"host": host, **{name.replace("_", "-"): value for name, value in fields.items()}}
    return Request(
        {
            "type": "http",
            "method": "GET",
            "path": "/_waypost/metrics",
            "query_string": b"",
            "client": (client, 40_000) if client else None,
            "server": (server, 8025) if server else None,
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
    )


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"host": "localhost:8025"},
        {"host": "LOCALHOST"},
        {"client": "::1", "server": "::1", "host": "[::1]:8025"},
        {"client": "::ffff:127.0.0.1", "server": "::ffff:127.0.0.1"},
        {"client": "127.0.0.9", "server": "127.0.0.2", "host": "127.0.0.2:8025"},
    ],
)
def test_a_program_on_the_same_machine_needs_no_key(given):
    assert status_of(request(**LOCAL | given)) == 200


@pytest.mark.parametrize(
    "given",
    [
        {"client": "192.0.2.1"},
        {"client": None},
        {"server": "192.0.2.1"},
        {"server": None},
        {"client": "192.0.2.1", "x_forwarded_for": "127.0.0.1"},
        {"x_forwarded_for": "127.0.0.1"},
        {"forwarded": "for=127.0.0.1"},
        {"via": "1.1 proxy"},
        {"host": "mail.example"},
        {"host": "192.0.2.1:8025"},
    ],
)
def test_every_other_request_needs_a_key(given):
    assert status_of(request(**LOCAL | given)) == 401


@pytest.mark.parametrize(
    "given", [{"host": "evil.example"}, {"origin": "http://evil.example"}, {"sec_fetch_site": "cross-site"}]
)
def test_a_web_page_of_another_site_is_refused(given):
    assert status_of(request(**LOCAL | given)) == 403


def test_a_key_of_another_account_is_refused():
    page = MetricsPage(lambda accept: asyncio.sleep(0, (b"", "")), owner=OWNER)
    with pytest.raises(HTTPException, match="Only an access key of the account that owns this server"):
        asyncio.run(page.metrics(request(**LOCAL), "111122223333"))


def test_the_page_gets_the_format_that_the_client_prefers():
    asked = []

    async def rendered(accept):
        asked.append(accept)
        return b"text", "application/openmetrics-text; version=1.0.0; charset=utf-8"

    page = MetricsPage(rendered, owner=OWNER)
    response = asyncio.run(page.metrics(request(**LOCAL, accept="application/openmetrics-text"), OWNER))
    assert isinstance(response, Response)
    assert asked == ["application/openmetrics-text"]
    assert response.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
