"""Relays messages that contain a possible end of message through Waypost to other servers, to detect smuggling."""

import smtplib

from tests.differential.dialogues import QUIT, Dialogue, Step, bdat, in_data
from tests.differential.player import PATIENCE, play

SENDER, RECIPIENT = "ann@client.example", "support@example.com"
INSIDE = (
    b"MAIL FROM:<ceo@client.example>\r\nRCPT TO:<support@example.com>\r\nDATA\r\nSubject: second\r\n\r\nSmuggled.\r\n"
)


def by_data(end: bytes) -> Dialogue:
    """Return a dialogue with DATA in which a second message follows `end`, if a server accepts it as the end."""
    dialogue = Dialogue(0, "smuggling by DATA")
    dialogue.say("EHLO client.example")
    for command in (f"MAIL FROM:<{SENDER}>", f"RCPT TO:<{RECIPIENT}>", "DATA"):
        dialogue.say(command)
    dialogue.rest = b"Subject: first\r\n\r\nHello." + end + INSIDE + b".\r\n" + QUIT
    return dialogue


def by_bdat(end: bytes, body: str) -> Dialogue:
    """Return a dialogue with BDAT (RFC 3030), which counts bytes, so that `end` is part of the message."""
    dialogue = Dialogue(0, f"smuggling by BDAT, {body}")
    dialogue.say("EHLO client.example")
    for command in (f"MAIL FROM:<{SENDER}> BODY={body}", f"RCPT TO:<{RECIPIENT}>"):
        dialogue.say(command)
    content = b"Subject: first\r\n\r\nHello." + end + INSIDE + b".\r\n"
    dialogue.steps.append(Step(bdat(content, b" LAST"), needs=b"CHUNKING"))
    return dialogue


def accepted(dialogue: Dialogue, waypost) -> list[bytes]:
    """Return the messages that Waypost stored from a dialogue, with the trace lines that it added."""
    outcome = play(dialogue, waypost)
    return [waypost.system.raw(message_id, RECIPIENT) for _, message_id in outcome.ids]


def relay(raw: bytes, peer) -> list[str]:
    """Send a message to another server by DATA with `smtplib`, and return the ids in its replies."""
    with smtplib.SMTP(*peer.address, local_hostname="relay.example", timeout=PATIENCE) as client:
        client.ehlo()
        client.mail(SENDER)
        client.rcpt(RECIPIENT)
        code, text = client.data(raw)
    assert code == 250, text
    return [peer.told_id.search(text)[1].decode()]


def relay_octets(raw: bytes, peer) -> list[str]:
    """Send a message to another server by DATA, with the dot-stuffing of RFC 5321 section 4.5.2 and no other change.

    Bare CRs and LFs arrive unchanged, so the other server may read them as line ends.
    """
    dialogue = Dialogue(0, "relayed")
    dialogue.say("EHLO relay.example")
    for command in (f"MAIL FROM:<{SENDER}>", f"RCPT TO:<{RECIPIENT}>", "DATA"):
        dialogue.say(command)
    dialogue.rest = in_data(raw if raw.endswith(b"\r\n") else raw + b"\r\n") + QUIT
    return [message_id for _, message_id in play(dialogue, peer).ids]


def messages_made(raw: bytes, peer, how) -> int:
    """Return the number of messages that another server stores if `how` relays one message to it."""
    before = peer.count()
    peer.settle(how(raw, peer))
    return peer.count() - before
