"""Reports risks at the start of a server: other users who can access its files, and settings that are not intended."""

from collections.abc import Callable, Iterable

from waypost.config.settings import Settings
from waypost.host.private_files import Exposure, Risk
from waypost.observe import events
from waypost.server import start_warnings


def report_risks(
    settings: Settings,
    exposures: Iterable[Exposure],
    *,
    emit: events.Emit,
    warn: Callable[[str], None],
) -> None:
    """Log the risks that other users of the machine pose to the data directory, and warn about them. Also warn about
    settings that are probably not intended, and log that the queue is held.
    """
    for exposure in exposures:
        emit(_event_of(exposure))
        warn(exposure.sentence)
    if settings.hold_queue:
        emit(events.QueueHeld())
    for sentence in start_warnings.of_settings(settings):
        warn(sentence)


def _event_of(exposure: Exposure) -> events.Event:
    """Return the log event for a risk that other users pose to the data directory or one of its files."""
    path, mode = str(exposure.path), f"{exposure.mode:04o}"
    match exposure.risk:
        case Risk.SHARED:
            return events.DataDirectoryShared(directory=path, mode=mode, group=exposure.group)
        case Risk.REPLACED | Risk.REPLACED_BY_GROUP:
            return events.DataDirectoryReplaceable(above=path, owner=exposure.owner, mode=mode, group=exposure.group)
        case Risk.REPAIRED:
            return events.FileMadePrivate(file=path, mode=mode)
        case Risk.EXPOSED:
            return events.FileExposed(file=path, mode=mode)
