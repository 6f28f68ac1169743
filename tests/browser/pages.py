"""The pages of the console in the story: at least one for each view that shows a page."""

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlencode

from tests.browser.shop_mail import ORDER
from tests.browser.story import Story


@dataclass(frozen=True)
class Page:
    """A page of the console."""

    view: str
    """The path of its view in the table of views."""
    path: Callable[[Story], str]
    """Returns the path of the page in the story."""


ADDRESS = "/addresses/{region}/{instance}/{id}"


def _of_address(address, form=""):
    return lambda story: story.path_of(address) + form


def _of_message(view):
    return lambda story: f"/mail/{story.id_of(ORDER.subject)}?view={view}"


def _redrive(story):
    letters = story.json("dead-letters")["dead_letters"]
    return "/queue/dead-letters/redrive?" + urlencode([("letter", letter["id"]) for letter in letters])


PAGES = {
    "mail": Page("/mail", lambda _: "/mail"),
    "refused mail": Page("/mail", lambda _: "/mail?is=refused"),
    "search": Page("/mail", lambda _: "/mail?q=parcel"),
    "search without result": Page("/mail", lambda _: "/mail?q=from:nobody@mill.example"),
    "message": Page("/mail/{id}", _of_message("text")),
    "message as HTML": Page("/mail/{id}", _of_message("html")),
    "headers": Page("/mail/{id}", _of_message("headers")),
    "source": Page("/mail/{id}", _of_message("source")),
    "delete message": Page("/mail/{id}/delete", lambda story: f"/mail/{story.id_of(ORDER.subject)}/delete"),
    "addresses": Page("/addresses", lambda _: "/addresses"),
    "address": Page(ADDRESS, _of_address("support@shop.example")),
    "address without a link": Page(ADDRESS, _of_address("hello@shop.example")),
    "link": Page(f"{ADDRESS}/link", _of_address("hello@shop.example", "/link?side=alias")),
    "delete address": Page(f"{ADDRESS}/delete", _of_address("support@shop.example", "/delete")),
    "map": Page("/map", lambda _: "/map"),
    "map with a search": Page("/map", lambda _: "/map?find=support"),
    "flow": Page("/flow", lambda _: "/flow"),
    "queue": Page("/queue", lambda _: "/queue"),
    "dead letters": Page("/queue/dead-letters", lambda _: "/queue/dead-letters"),
    "redrive": Page("/queue/dead-letters/redrive", _redrive),
    "forward again": Page("/queue/forward-again", lambda _: "/queue/forward-again"),
    "routes": Page("/routes", lambda _: "/routes?address=support@shop.example"),
    "remove route": Page("/routes/remove", lambda story: f"/routes/remove?{urlencode(story.stored_route())}"),
    "send": Page("/send", lambda _: "/send"),
    "keys": Page("/keys", lambda _: "/keys"),
    "settings": Page("/settings", lambda _: "/settings"),
    "check": Page("/doctor", lambda _: "/doctor"),
}

NO_PAGES = {
    "/",
    "/mail/{id}/html",
    "/mail/{id}/raw",
    "/mail/{id}/parts/{number}",
    *(f"{ADDRESS}/{form}" for form in ("edit", "tag", "untag", "associate", "disassociate", "explain")),
}
"""The views that answer with a file, or that lead to another page."""
