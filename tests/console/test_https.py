"""What the console changes if a request came over HTTPS: its cookies, and Strict-Transport-Security."""

import asyncio
from types import SimpleNamespace

import pytest
from starlette.requests import Request
from starlette.responses import Response

from waypost.console import cookies
from waypost.console.guard import Guard


def request(scheme, cookie=""):
    fields = [(b"host", b"waypost.example"), (b"cookie", cookie.encode())]
    return Request({"type": "http", "scheme": scheme, "headers": fields, "path": "/", "query_string": b""})


def test_the_cookies_of_https_have_their_own_names_and_are_secure():
    response = Response()
    cookies.put(response, cookies.SESSION, "token")
    cookies.remove(response, cookies.VISITOR)
    response.set_cookie("other", "1")
    cookies.secure(response)
    found = response.headers.getlist("set-cookie")
    assert found[0].startswith("__Secure-waypost_session=token;")
    assert found[1].startswith('__Secure-waypost_visitor=""')
    assert [each.endswith("; Secure") for each in found] == [True, True, False]


@pytest.mark.parametrize(
    ("scheme", "cookie", "value"),
    [
        ("https", "__Secure-waypost_session=a; waypost_session=b", "a"),
        ("http", "__Secure-waypost_session=a; waypost_session=b", "b"),
        ("https", "waypost_session=b", ""),
        ("http", "__Secure-waypost_session=a", ""),
    ],
)
def test_each_scheme_has_its_own_cookies(scheme, cookie, value):
    assert cookies.value(request(scheme, cookie), cookies.SESSION) == value


@pytest.mark.parametrize(
    ("scheme", "is_https_only", "peer", "status", "strict"),
    [
        ("https", True, "192.0.2.1", 204, "max-age=31536000"),
        ("https", False, "192.0.2.1", 204, None),
        ("http", True, "127.0.0.1", 204, None),
        ("http", True, "192.0.2.1", 403, None),
    ],
)
def test_https_answers_other_machines_and_may_be_remembered(scheme, is_https_only, peer, status, strict):
    parts = SimpleNamespace(is_https_only=is_https_only, own_names={"waypost.example"}, emit=lambda _: None)
    pages = SimpleNamespace(render=lambda *_, **__: "refused")

    async def answer(_):
        return Response(status_code=204)

    asked = request(scheme)
    asked.scope["client"] = (peer, 1)
    found = asyncio.run(Guard(parts, pages, None).open(answer)(asked))
    assert (found.status_code, found.headers.get("strict-transport-security")) == (status, strict)
