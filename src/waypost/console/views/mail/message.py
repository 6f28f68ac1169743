"""The view of one message: its text, HTML, header or source, its attachments, and its trace."""

from collections.abc import Mapping, Sequence

from msgspec import Struct
from starlette.responses import Response

from waypost.app import ports
from waypost.app.mail import copies, trace
from waypost.console.views.mail import listing, sidebar, timeline, verdicts
from waypost.console.views.mail.rows import Chip, chips_of, ways_of
from waypost.console.views.mail.selection import id_in, selected
from waypost.console.views.mail.sidebar import Sidebar
from waypost.console.visits import Visit
from waypost.domain import errors
from waypost.domain.iam.actions import DELETE_MAIL, REDRIVE
from waypost.domain.mail.delivery import Status
from waypost.mime import cleaning
from waypost.mime.message import PICTURES, CannotRead, MimeMessage, Part, SafeHtml
from waypost.mime.reader import SIZE_LIMIT, Reader

TABS = {"text": "Text", "html": "HTML", "headers": "Headers", "source": "Source"}
"""The labels of the tabs, by the value of `view` in the URL."""

TEXT_SHOWN = 100_000
"""How many characters of the text a page shows until the person asks for all. Browsers need seconds for more."""

SOURCE_SHOWN = 100_000
"""How many bytes of the source a page shows. The download has all."""


class Opened(Struct, frozen=True, kw_only=True):
    """A message that a person has opened."""

    details: trace.MessageDetails
    contents: copies.Contents | None
    """The bytes of the message; None if the store no longer has them."""
    missing: str = ""
    """The reason why there are no bytes, as a sentence."""
    mime: MimeMessage | None = None
    """What the message contains; None if it cannot be read."""
    html: SafeHtml | None = None
    """The facts about the HTML, if the tab with the HTML is shown."""
    unreadable: str = ""
    """The reason why the message cannot be read, as a sentence."""
    view: str = "text"
    """The tab that is shown."""
    shows_remote: bool = False
    """Whether pictures from other servers are shown."""
    shows_all: bool = False
    """Whether the whole text is shown, however long it is."""

    @property
    def id(self) -> str:
        """The id of the message."""
        return self.details.message.id

    @property
    def subject(self) -> str:
        """The subject, on one line."""
        return self.details.message.subject or "(no subject)"

    @property
    def sender(self) -> str:
        """The author in From or, without one, the envelope sender."""
        return self._field("from") or self.details.message.envelope.sender or "null sender"

    @property
    def recipients(self) -> str:
        """The value of To, which can differ from the addresses of the envelope."""
        return self._field("to")

    @property
    def ways(self) -> Sequence[str]:
        """The addresses that the message was delivered to."""
        return ways_of(self.details.deliveries)

    @property
    def chips(self) -> Sequence[Chip]:
        """The reasons and statuses of the deliveries."""
        return chips_of(self.details.deliveries)

    @property
    def checks(self) -> tuple[list[verdicts.Verdict], str]:
        """The results of SPF, DKIM and DMARC, and a sentence if the sender was not checked."""
        return verdicts.explained(event.detail for event in self.details.events)

    @property
    def points(self) -> Sequence[timeline.Point]:
        """The points of the trace's timeline."""
        return timeline.points(self.details.events, self.details.deliveries)

    @property
    def tabs(self) -> Sequence[tuple[str, str]]:
        """The names and labels of the tabs that this message has."""
        if self.contents is None:
            return []
        if self.mime is None:
            return [("source", TABS["source"])]
        return [(name, label) for name, label in TABS.items() if name != "html" or self.mime.html_part]

    @property
    def problems(self) -> Sequence[str]:
        """A sentence for each thing that is wrong with the message."""
        found = [*self.mime.problems] if self.mime else [self.unreadable or self.missing]
        return [*found, *(self.html.problems if self.html else ())]

    @property
    def misleading(self) -> int:
        """How many links of the HTML look like links to other addresses."""
        return sum(1 for link in self.html.links if link.is_misleading) if self.html else 0

    @property
    def attachments(self) -> Sequence[Part]:
        """The parts that are listed as files."""
        return [part for part in self.mime.parts if part.is_attachment] if self.mime else []

    @property
    def text(self) -> str:
        """The text, or as much of it as a browser shows at once."""
        text = self.mime.text if self.mime else ""
        return text[:TEXT_SHOWN] if self.is_text_cut else text

    @property
    def is_text_cut(self) -> bool:
        """Whether the text is longer than the page shows."""
        return self.mime is not None and len(self.mime.text) > TEXT_SHOWN and not self.shows_all

    @property
    def source(self) -> str:
        """The beginning of the source."""
        return cleaning.text(self.contents.raw[:SOURCE_SHOWN].decode("utf-8", "replace")) if self.contents else ""

    @property
    def is_source_cut(self) -> bool:
        """Whether the source is longer than the page shows."""
        return self.contents is not None and len(self.contents.raw) > SOURCE_SHOWN

    @property
    def dead(self) -> int:
        """The number of dead letters among the deliveries."""
        return sum(1 for one in self.details.deliveries if one.status is Status.DEAD)

    @property
    def is_forwardable(self) -> bool:
        """Whether the message may be in the inbox of an alias, from which it can be forwarded again."""
        return any(one.kept and one.via is None for one in self.details.deliveries)

    def _field(self, name: str) -> str:
        headers = self.mime.headers if self.mime else ()
        return next((value for key, value in headers if key.lower() == name), "")


async def show(visit: Visit) -> Response:
    """Show a message next to the list that the person opened it from. htmx gets only the message."""
    selection = selected(visit.query)
    message_id = id_in(visit.request.path_params)

    def found(tx: ports.ReadTx) -> tuple[Opened, listing.Listed, Sidebar]:
        opened = _stored(tx, visit.account, message_id)
        if visit.is_fragment:
            return opened, listing.Listed(), Sidebar()
        return opened, listing.read(tx, visit=visit, selection=selection), sidebar.read(tx, visit)

    stored, listed, beside = await visit.long_read(found, what="the message")
    opened = await _opened(visit.parts.reader, stored, visit.query)
    return visit.page(
        "message_fragment.html" if visit.is_fragment else "mail.html",
        **listing.variables(selection, listed, beside, chosen=message_id),
        opened=opened,
        done=listing.done(visit),
        may_redrive=visit.allows(REDRIVE),
        may_delete=visit.allows(DELETE_MAIL),
    )


def is_raster(content_type: str) -> bool:
    """Return whether a media type is of a picture that is safe to show."""
    return content_type in PICTURES


def _stored(tx: ports.ReadTx, account: str, message_id: str) -> Opened:
    details = trace.message_details(tx, account, message_id)
    try:
        return Opened(details=details, contents=copies.contents(tx, account, message_id, limit=SIZE_LIMIT))
    except errors.NotFound as error:
        return Opened(details=details, contents=None, missing=error.message)


async def _opened(reader: Reader, stored: Opened, query: Mapping[str, str]) -> Opened:
    """Return a message with what its MIME structure has, as far as it can be read, for the view in the URL."""
    if stored.contents is None:
        return stored
    raw = stored.contents.raw
    view, shows_remote = query.get("view", ""), query.get("remote") == "1"
    try:
        mime = await reader.read(raw)
        if view not in TABS or (view == "html" and mime.html_part is None):
            view = "html" if mime.html_part and not mime.text.strip() else "text"
    except CannotRead as error:
        return Opened(details=stored.details, contents=stored.contents, unreadable=str(error), view="source")
    html, unreadable = None, ""
    if view == "html" and mime.html_part:
        try:
            html = await reader.html(raw, mime.html_part, lambda _: "", shows_remote)
        except CannotRead as error:
            unreadable = str(error)
    return Opened(
        details=stored.details,
        contents=stored.contents,
        mime=mime,
        html=html,
        unreadable=unreadable,
        view=view,
        shows_remote=shows_remote,
        shows_all=query.get("all") == "1",
    )
