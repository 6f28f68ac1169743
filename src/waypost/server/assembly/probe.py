"""The part of a service that sends probes to the alias in the settings."""

from waypost.app.ports.failures import STORE_FAILURES
from waypost.observe.incidents import Incidents
from waypost.server.assembly.common import Common
from waypost.server.probe import Probe


def probe_of(common: Common, *, smtp: str) -> Probe:
    """Return the part that sends probes to the alias in the settings, and does not run yet.

    `smtp` is the address of the server's own SMTP listener.
    """
    settings = common.settings
    return Probe(
        store=common.store,
        alias=settings.probe_alias,
        every=settings.probe_every,
        smtp=smtp,
        hostname=settings.real_hostname,
        key=common.directory.master_keys.derived("probes"),
        clock=common.mail_clock,
        emit=common.emit,
        incidents=Incidents(common.emit, of_store=STORE_FAILURES),
        metrics=common.metrics,
    )
