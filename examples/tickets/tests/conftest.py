"""The ticket system for each test: a desk, its web application on a free port, and its entry points."""

import threading
from types import SimpleNamespace
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest

from tickets.desk import Desk
from tickets.entry_points import EntryPoints
from tickets.web import Application

SECRET = "a secret for the webhook"


class QuietHandler(WSGIRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path / "tickets.sqlite3")


@pytest.fixture
def web(desk):
    """The web application: `answering` can be replaced, and `url` is where it is."""
    web = SimpleNamespace(answering=Application(desk, SECRET))
    server = make_server("127.0.0.1", 0, None, handler_class=QuietHandler)
    server.get_app = lambda: web.answering
    web.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield web
    server.shutdown()
    thread.join()
    server.server_close()


# What follows is all that the tests need for Waypost.


@pytest.fixture
def entry_points(waypost):
    return EntryPoints(waypost.client("connect"), waypost.instance_id)


@pytest.fixture
def support(waypost, web, entry_points):
    """The entry point support@lamps.example, whose mail becomes tickets."""
    waypost.route("*@tickets.example", f"{web.url}/mail", secret=SECRET, allow_private=True)
    entry_points.open("support@lamps.example", "lamps@tickets.example", name="Lamps")
    return "support@lamps.example"
