"""A group of background tasks, for objects that a test creates without a server."""

from waypost.app.ports.failures import STORE_FAILURES
from waypost.observe.incidents import Incidents
from waypost.observe.tasks import Tasks


def supervised(emit, **options):
    """Return a group of tasks whose errors are emitted as events."""
    return Tasks(Incidents(emit, of_store=STORE_FAILURES), **options)
