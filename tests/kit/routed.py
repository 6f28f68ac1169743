"""Email addresses with a route to a mail server of the tests, for tests of the console."""

import re
from contextlib import contextmanager
from functools import partial

from tests.kit.patience import wait_until
from waypost.app.mail import routes
from waypost.domain.mail.routes import Route

MESSAGE = b"Subject: Invoice 118\r\n\r\nHello.\r\n"

REFUSED, LATER = b"550 5.1.1 no such user here", b"451 4.3.0 the disk is full"


@contextmanager
def routed(console, to, **options):
    """Create an email address whose mail goes to `to`, and remove its route at the end."""
    address = console.system.new_address("routed")
    console.write(partial(routes.add_route, route=Route(match=address, to=to, **options), before=None))
    try:
        yield address
    finally:
        console.write(partial(_remove_route_of, address=address))


def _remove_route_of(tx, *, address):
    stored = routes.list_routes(tx)
    number = next((number for number, route in enumerate(stored, 1) if route.match == address), None)
    if number:
        routes.remove_route(tx, number)


def dead_letters(console, address, count=1) -> list[str]:
    """Wait until an address has `count` dead letters, and return their ids."""

    def found():
        letters = console.system.json("dead-letters", address=address)["dead_letters"]
        return [letter["id"] for letter in letters] if len(letters) == count else None

    return wait_until(found, f"{address} does not have {count} dead letters")


def failing(console, address) -> dict:
    """Wait until the first attempt of a delivery for an address has failed, and return the delivery in the queue."""

    def found():
        waiting = console.system.json("queue", limit=500)["deliveries"]
        return next((one for one in waiting if one["address"] == address and one["because"]), None)

    return wait_until(found, f"no delivery for {address} has failed")


def hidden_fields(page) -> dict[str, str]:
    """Return the hidden fields of a page's forms, except the CSRF token and the theme's."""
    found = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page.html))
    return {name: value for name, value in found.items() if name not in ("csrf", "back")}
