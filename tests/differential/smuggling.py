"""One message, with what might be its end in it, on its way through us to others: it must stay one message."""

import smtplib

from tests.differential.dialogues import QUIT, Dialogue, Step, bdat, in_data
from tests.differential.player import PATIENCE, play

SENDER, RECIPIENT = "ann@client.example", "support@example.com"
INSIDE = (
    b"MAIL FROM:<ceo@client.example>\r\nRCPT TO:<support@example.com>\r\nDATA\r\nSubject: second\r\n\r\nSmuggled.\r\n"
)


def by_data(end: bytes) -> Dialogue:
    """After DATA, just as it is: whoever takes `end` for the end of the message finds a second one behind it."""
    dialogue = Dialogue(0, "smuggling by DATA")
    dialogue.say("EHLO client.example")
    for command in (f"MAIL FROM:<{SENDER}>", f"RCPT TO:<{RECIPIENT}>", "DATA"):
        dialogue.say(command)
    dialogue.rest = b"Subject: first\r\n\r\nHello." + end + INSIDE + b".\r\n" + QUIT
    return dialogue


def by_bdat(end: bytes, body: str) -> Dialogue:
    """In a chunk (RFC 3030), where octets are counted and nothing is an end."""
    dialogue = Dialogue(0, f"smuggling by BDAT, {body}")
    dialogue.say("EHLO client.example")
    for command in (f"MAIL FROM:<{SENDER}> BODY={body}", f"RCPT TO:<{RECIPIENT}>"):
        dialogue.say(command)
    content = b"Subject: first\r\n\r\nHello." + end + INSIDE + b".\r\n"
    dialogue.steps.append(Step(bdat(content, b" LAST"), needs=b"CHUNKING"))
    return dialogue


def accepted(dialogue: Dialogue, waypost) -> list[bytes]:
    """The messages that Waypost made of a dialogue, as its inbox has them, our trace lines in front."""
    outcome = play(dialogue, waypost)
    return [waypost.system.raw(message_id, RECIPIENT) for _, message_id in outcome.ids]


def relay(raw: bytes, peer) -> list[str]:
    """Bring a message to another server by DATA, as the standard library does it; returns the ids that it tells."""
    with smtplib.SMTP(*peer.address, local_hostname="relay.example", timeout=PATIENCE) as client:
        client.ehlo()
        client.mail(SENDER)
        client.rcpt(RECIPIENT)
        code, text = client.data(raw)
    assert code == 250, text
    return [peer.told_id.search(text)[1].decode()]


def relay_octets(raw: bytes, peer) -> list[str]:
    """Bring a message to another server by DATA, with no more dots than RFC 5321 section 4.5.2 asks for.

    Each octet arrives; what is a bare CR or LF in it, another server may take for a line end.
    """
    dialogue = Dialogue(0, "relayed")
    dialogue.say("EHLO relay.example")
    for command in (f"MAIL FROM:<{SENDER}>", f"RCPT TO:<{RECIPIENT}>", "DATA"):
        dialogue.say(command)
    dialogue.rest = in_data(raw if raw.endswith(b"\r\n") else raw + b"\r\n") + QUIT
    return [message_id for _, message_id in play(dialogue, peer).ids]


def messages_made(raw: bytes, peer, how) -> int:
    """How many messages the other server makes of one."""
    before = peer.count()
    peer.settle(how(raw, peer))
    return peer.count() - before
