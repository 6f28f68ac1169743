"""Background tasks as a server has them, for what a test makes without one."""

from waypost.app.ports.failures import STORE_FAILURES
from waypost.observe.incidents import Incidents
from waypost.observe.tasks import Tasks


def supervised(emit, **options):
    """A group of tasks whose errors are emitted."""
    return Tasks(Incidents(emit, of_store=STORE_FAILURES), **options)
