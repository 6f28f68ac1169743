"""A small shop with a day of mail: the same addresses, messages and times at each run.

The tests of every page and the screenshots use it. The shop has addresses of each kind, and mail in each state: direct,
forwarded, delivered, waiting, dead and refused. The virtual clock of its server ends at 10:00 UTC, and then runs on.
"""

from contextlib import contextmanager
from datetime import datetime, timedelta
from email.policy import SMTP
from tempfile import TemporaryDirectory

from tests.browser.shop_mail import BUSY, DNS, LETTERS, PEERS
from tests.kit.patience import wait_until
from tests.kit.peers.dns_server import Zone
from tests.kit.peers.mail_sink import Sink
from tests.kit.peers.proxied_client import ProxiedClient
from tests.kit.servers.failing_deliveries import FailingSystem
from tests.kit.servers.running import logged, waypost_process
from tests.kit.signed_mail import sign
from waypost import testing
from waypost.domain.mail.routes import Route

SETTINGS = """
clock = "virtual"
hostname = "mail.shop.example"
authentication = "enforce"
dns = "{dns}"
proxy_networks = "127.0.0.1/32"

[[route]]
match = "desk@shop.example"
to = "{crm}"
keep = true

[[route]]
match = "*@ledger.example"
to = "smtp://mx.ledger.example:25"
fault = "tempfail"

[[route]]
match = "*@press.example"
to = "smtp://mx.press.example:25"
fault = "permfail"

[[route]]
match = "archive@shop.example"
to = "maildir:{maildir}/archive"
"""

NAMES = {
    "support@shop.example": "Support",
    "desk@shop.example": "Help desk",
    "orders@shop.example": "Orders",
    "fulfilment@shop.example": "Warehouse",
    "invoices@shop.example": "Invoices",
    "accounts@ledger.example": "Bookkeeper",
    "press@shop.example": "Press",
    "news@press.example": "Agency",
    "privacy@shop.example": "Privacy",
    "archive@shop.example": "Archive",
    "hello@shop.example": "Hello",
    "jobs@shop.example": "Jobs",
}
"""The email addresses with their display names."""

LINKS = {
    "support@shop.example": "desk@shop.example",
    "orders@shop.example": "fulfilment@shop.example",
    "invoices@shop.example": "accounts@ledger.example",
    "press@shop.example": "news@press.example",
    "privacy@shop.example": "archive@shop.example",
}
"""The primary of each alias."""

STORED = Route(match="jobs@shop.example", to="inbox")
"""A route that is in the store, and not in the settings file."""


class Story(FailingSystem):
    """The server of the shop. `now` is the time of its virtual clock at the end of the story."""

    now: datetime

    def tell(self):
        """Create the addresses, and send the mail of the last twenty hours."""
        for address, name in NAMES.items():
            made = self.connect.create_email_address(
                InstanceId=self.instance_id, EmailAddress=address, DisplayName=name
            )
            self.ids[address] = made["EmailAddressId"]
        for alias, primary in LINKS.items():
            self.link(alias, primary)
        added = waypost_process("routes", "add", STORED.match, STORED.to, "--data", self.server.data)
        assert added.returncode == 0, added.stderr
        end = (self.clock() + timedelta(days=2)).replace(hour=10, minute=0, second=0, microsecond=0)
        for number, letter in enumerate(sorted([*BUSY, *LETTERS], key=lambda letter: -letter.minutes)):
            at = end - timedelta(minutes=letter.minutes)
            self._wait_for(at)
            self._send(letter, number, at)
        self._wait_for(end)
        self.now = end
        self.wait_for_refusals("sale@shop.example")

    def id_of(self, subject) -> str:
        """Return the id of the newest message with this subject."""
        every = [message for address in self.ids for message in self.inbox(address)]
        return max(message["id"] for message in every if message["subject"] == subject)

    def path_of(self, address) -> str:
        """Return the path of the page about an email address."""
        return f"/addresses/{self.server.profile.region}/{self.instance_id}/{self.ids[address]}"

    def stored_route(self) -> dict[str, str]:
        """Return the parameters of the page that removes the first stored route."""
        return {"number": "1", "name": STORED.log_name}

    def clock(self) -> datetime:
        """Return the time of the server's virtual clock."""
        return datetime.fromisoformat(self.json("clock")["now"])

    def _wait_for(self, moment):
        """Advance the clock to the second after a moment. The clock also runs by itself, so its time is read here."""
        seconds = -((self.clock() - moment) // timedelta(seconds=1))
        if seconds > 0:
            self.advance(f"{seconds}s")

    def _send(self, letter, number, at):
        domain = letter.sender.rpartition("@")[2]
        octets = letter.message(at, number).as_bytes(policy=SMTP)
        if letter.is_signed:
            octets = sign(octets, domain=domain.encode())
        with ProxiedClient(self.server, PEERS[domain]) as client:
            client.ehlo(f"mx.{domain}")
            client.mail(letter.sender)
            if client.rcpt(letter.recipient)[0] == 250:
                client.data(octets)


@contextmanager
def told_story(directory):
    """Run the server of the shop, with the mail of its day. Its Maildir has a short path, because pictures show it."""
    with Zone(DNS) as zone, Sink() as crm, TemporaryDirectory() as maildir:
        host, port = zone.address
        file = directory / "waypost.toml"
        file.write_text(SETTINGS.format(dns=f"{host}:{port}", crm=crm.to, maildir=maildir), encoding="utf-8")
        with testing.server("--config", str(file), "--authentication", "enforce") as server:
            story = Story(server)
            wait_until(lambda: any(event["works"] for event in logged(server, "dns_changed")))
            story.tell()
            yield story
            story.connect.close()
            log = server.log.read_text(encoding="utf-8")
        assert "Traceback" not in log
