"""Writes commands, with the parameters that the peer offers, and messages for DATA and BDAT."""

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from waypost.delivery.outgoing import Parcel
from waypost.domain.directory import addresses
from waypost.domain.mail.delivery import Notify, Trouble
from waypost.domain.mail.messages import end_of_header

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_PATH = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^\s<>"\\])*')
"""The form of an address between < and >: brackets and spaces only in quotes, so that no address contains a
parameter."""


class Unsayable(Exception):
    """A command would contain a line end, or something that is not an address."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the octets that the peer gets."""

    octets: bytes
    is_last: bool


Capabilities = Mapping[str, Sequence[str]]
"""The extensions of a peer, in capitals, with their parameters."""


def read_capabilities(lines: tuple[str, ...]) -> Capabilities:
    """The extensions of a peer, with their parameters; `AUTH=PLAIN` is how some said it before RFC 2554."""
    words = (line.replace("AUTH=", "AUTH ", 1).split() for line in lines)
    return {word[0].upper(): word[1:] for word in words if word}


def needs_smtputf8(parcel: Parcel, first: Part) -> bool:
    """Whether the parcel can be sent only with SMTPUTF8 (RFC 6531). `first` is the first part of its octets.

    This is read from what is sent. An address needs SMTPUTF8 if its local part is not ASCII; a domain never does,
    because it has A-labels. A header needs it if it has UTF-8 and the client declared SMTPUTF8. Any other header that
    is not ASCII is in a charset that SMTPUTF8 is not for, and is sent unchanged. Headers of body parts count as body.
    """
    if not all(addresses.with_ascii_domain(each).isascii() for each in (parcel.return_path, parcel.recipient)):
        return True
    if not parcel.header.isascii():
        return True
    if not parcel.message.envelope.declares_smtputf8:
        return False
    end = end_of_header(first.octets)
    if end is None and not first.is_last:
        return True  # the store gives the author's header in one part; if it does not, the rest may be anything
    header = first.octets[:end]
    return not header.isascii() and _is_utf8(header)


def why_unfit(parcel: Parcel, capabilities: Capabilities, *, is_utf8: bool) -> tuple[Trouble, str] | None:
    """Why this peer cannot accept this parcel, without asking it. `is_utf8` is what `needs_smtputf8` says."""
    if parcel.is_binary and not {"BINARYMIME", "CHUNKING"} <= capabilities.keys():
        return Trouble.NEEDS_BINARY, "the message is binary, and the peer does not take that"
    if is_utf8 and "SMTPUTF8" not in capabilities:
        return Trouble.NEEDS_UTF8, "an address or the header is not ASCII, and the peer does not take that"
    limit = (capabilities.get("SIZE") or ["0"])[0]
    if limit.isascii() and limit.isdigit() and 0 < int(limit[:20]) < parcel.size:
        return Trouble.TOO_BIG, f"the message has {parcel.size:,} octets, and the peer takes {int(limit[:20]):,}"
    return None


def mail(parcel: Parcel, capabilities: Capabilities, *, is_utf8: bool) -> bytes:
    """MAIL, with the parameters that the parcel needs and the peer offers. Raises `Unsayable`."""
    command = f"MAIL FROM:<{_path(parcel.return_path)}>"
    if "SIZE" in capabilities:
        command += f" SIZE={parcel.size}"
    if parcel.is_binary:
        command += " BODY=BINARYMIME"
    elif "8BITMIME" in capabilities and (is_utf8 or parcel.message.envelope.body == "8BITMIME"):
        command += " BODY=8BITMIME"
    if is_utf8:
        command += " SMTPUTF8"
    if "DSN" in capabilities and parcel.ret in {"FULL", "HDRS"}:
        command += f" RET={parcel.ret}"
    if "DSN" in capabilities and _is_visible(parcel.envid):
        command += f" ENVID={xtext(parcel.envid)}"
    return line(command)


def rcpt(parcel: Parcel, capabilities: Capabilities) -> bytes:
    """RCPT, as `mail`."""
    command = f"RCPT TO:<{_path(parcel.recipient)}>"
    if "DSN" not in capabilities:
        return line(command)
    if parcel.notify and set(parcel.notify) <= set(Notify):
        command += f" NOTIFY={','.join(parcel.notify)}"
    kind, _, original = parcel.orcpt.partition(";")
    if kind.lower() == "utf-8" and original:
        command += f" ORCPT={kind};{unitext(original)}"
    elif re.fullmatch(r"[A-Za-z0-9-]+", kind) and _is_visible(original):
        command += f" ORCPT={kind};{xtext(original)}"
    return line(command)


def line(command: str) -> bytes:
    """The octets of a command. Raises `Unsayable` for a text that would be two commands, or has octets that no command
    may have.
    """
    if _CONTROL.search(command):
        raise Unsayable(f"{command!a} cannot be said as a command")
    return f"{command}\r\n".encode()


def base64(text: str) -> bytes:
    """A line of AUTH (RFC 4954 section 4)."""
    return b64encode(text.encode("utf-8", "surrogateescape")) + b"\r\n"


def chunk(part: Part) -> bytes:
    """A part as BDAT sends it (RFC 3030)."""
    return b"BDAT %d%b\r\n%b" % (len(part.octets), b" LAST" if part.is_last else b"", part.octets)


class DotStuffer:
    """Doubles the dots at the beginnings of lines (RFC 5321 section 4.5.2), also where a line begins a new part."""

    def __init__(self) -> None:
        self._last = b"\r\n"
        """The last two octets so far; the first line begins like any other."""

    def feed(self, octets: bytes) -> bytes:
        """The next octets, as they are sent."""
        start = self._last + octets[:2]
        # A line end may be cut by the border: `CR|LF.` or `CRLF|.`; further in, `replace` finds it.
        if octets[:1] == b"." and self._last == b"\r\n":
            stuffed = b"." + octets.replace(b"\r\n.", b"\r\n..")
        elif octets[:2] == b"\n." and self._last.endswith(b"\r"):
            stuffed = b"\n." + octets[1:].replace(b"\r\n.", b"\r\n..")
        else:
            stuffed = octets.replace(b"\r\n.", b"\r\n..")
        self._last = octets[-2:] if len(octets) >= 2 else start[len(octets) :][:2]
        return stuffed

    def end(self) -> bytes:
        """What ends the message: the lone dot, on a line of its own."""
        return b".\r\n" if self._last == b"\r\n" else b"\r\n.\r\n"


def xtext(text: str) -> str:
    """RFC 3461 section 4: everything but visible ASCII without `+` and `=` as `+` and two digits."""
    return re.sub(r"[^!-*,-<>-~]", lambda found: "".join(f"+{octet:02X}" for octet in found[0].encode()), text)


def unitext(text: str) -> str:
    r"""RFC 6533 section 3, in ASCII: everything but visible ASCII without `+`, `=` and `\` as `\x{…}`."""
    return re.sub(r"[^!-*,-<>-\[\]-~]", lambda found: f"\\x{{{ord(found[0]):02X}}}", text)


def _is_visible(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable()


def _is_utf8(octets: bytes) -> bool:
    try:
        octets.decode()
    except UnicodeDecodeError:
        return False
    return True


def _path(address: str) -> str:
    if not _PATH.fullmatch(address):
        raise Unsayable(f"{address!a} cannot be said as an address")
    return addresses.with_ascii_domain(address)
