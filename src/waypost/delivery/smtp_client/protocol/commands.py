"""Build SMTP commands with the parameters that the peer supports, and encode messages for DATA and BDAT."""

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import lru_cache

from msgspec import Struct

from waypost.delivery.outgoing import Parcel
from waypost.domain.directory import addresses
from waypost.domain.mail.delivery import Notify, Trouble
from waypost.domain.mail.messages import end_of_header

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_PATH = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^\s<>"\\])*')
"""The syntax of an address between `<` and `>`. Angle brackets and spaces are allowed only in quotes, so that no part
of an address can be mistaken for a parameter.
"""


class Unsayable(Exception):
    """Raised if a command cannot be sent, because it would contain an invalid address or a control character, such as a
    line ending.
    """


class Part(Struct, frozen=True):
    """A part of a message, as it is sent to the peer."""

    octets: bytes
    is_last: bool


Capabilities = Mapping[str, Sequence[str]]
"""The extensions that a peer offers: the name of each extension, in capital letters, with the extension's parameters.
"""


def read_capabilities(lines: tuple[str, ...]) -> Capabilities:
    """Parse the extensions that a peer offers, with their parameters. The form `AUTH=PLAIN`, which some servers used
    before RFC 2554, is also accepted.
    """
    words = (line.replace("AUTH=", "AUTH ", 1).split() for line in lines)
    return {word[0].upper(): word[1:] for word in words if word}


def needs_smtputf8(parcel: Parcel, first: Part) -> bool:
    """Whether the parcel can be sent only with SMTPUTF8 (RFC 6531). `first` is the first part of the message.

    The result depends on the addresses and the header that will be sent. An address requires SMTPUTF8 if its local part
    is not ASCII. A domain never requires SMTPUTF8, because it is sent as A-labels. A header requires SMTPUTF8 if it
    contains UTF-8 characters that are not ASCII, and the client that sent the message declared SMTPUTF8. Any other
    header that is not ASCII is in a charset to which SMTPUTF8 does not apply, and is sent unchanged. The headers of
    MIME parts count as part of the body, so they do not affect the result.
    """
    if not all(addresses.with_ascii_domain(each).isascii() for each in (parcel.return_path, parcel.recipient)):
        return True
    if not parcel.header.isascii():
        return True
    if not parcel.message.envelope.declares_smtputf8:
        return False
    end = end_of_header(first.octets)
    if end is None and not first.is_last:
        return True  # usually, the first part contains the whole header; if not, the rest is unknown
    header = first.octets[:end]
    return not header.isascii() and _is_utf8(header)


def why_unfit(parcel: Parcel, capabilities: Capabilities, *, is_utf8: bool) -> tuple[Trouble, str] | None:
    """Return the reason why the peer cannot accept the parcel, according to the peer's capabilities. Return None if
    there is no such reason. `is_utf8` is the result of `needs_smtputf8`.
    """
    if parcel.is_binary and not {"BINARYMIME", "CHUNKING"} <= capabilities.keys():
        return Trouble.NEEDS_BINARY, "the message is binary, and the peer does not support BINARYMIME"
    if is_utf8 and "SMTPUTF8" not in capabilities:
        return Trouble.NEEDS_UTF8, "an address or the header is not ASCII, and the peer does not support SMTPUTF8"
    limit = (capabilities.get("SIZE") or ["0"])[0]
    if limit.isascii() and limit.isdigit() and 0 < int(limit[:20]) < parcel.size:
        return (
            Trouble.TOO_BIG,
            f"the message has {parcel.size:,} bytes, and the peer accepts at most {int(limit[:20]):,} bytes",
        )
    return None


def mail(parcel: Parcel, capabilities: Capabilities, *, is_utf8: bool) -> bytes:
    """Return the MAIL command, with the parameters that the parcel needs and the peer supports. Raises `Unsayable`."""
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
    """Return the RCPT command, with the DSN parameters if the peer supports DSN. Raises `Unsayable`."""
    command = f"RCPT TO:<{_path(parcel.recipient)}>"
    if "DSN" not in capabilities:
        return line(command)
    if parcel.notify and set(parcel.notify) <= set(Notify):
        command += f" NOTIFY={','.join(parcel.notify)}"
    if not parcel.orcpt:
        return line(command)
    kind, _, original = parcel.orcpt.partition(";")
    if kind.lower() == "utf-8" and original:
        command += f" ORCPT={kind};{unitext(original)}"
    elif re.fullmatch(r"[A-Za-z0-9-]+", kind) and _is_visible(original):
        command += f" ORCPT={kind};{xtext(original)}"
    return line(command)


def line(command: str) -> bytes:
    """Return the bytes of a command line. Raises `Unsayable` if the text contains a line ending or another control
    character.
    """
    if _CONTROL.search(command):
        raise Unsayable(f"{command!a} cannot be sent as a command")
    return f"{command}\r\n".encode()


def base64(text: str) -> bytes:
    """Return a line of the AUTH dialogue in Base64 (RFC 4954 section 4)."""
    return b64encode(text.encode("utf-8", "surrogateescape")) + b"\r\n"


def chunk(part: Part) -> bytes:
    """Return a part of the message with its BDAT command (RFC 3030)."""
    return b"BDAT %d%b\r\n%b" % (len(part.octets), b" LAST" if part.is_last else b"", part.octets)


class DotStuffer:
    """Doubles a dot at the beginning of a line (RFC 5321 section 4.5.2), even if the line begins at the start of a
    part.
    """

    def __init__(self) -> None:
        self._last = b"\r\n"
        """The last two bytes of the previous part. The initial value is CRLF, because a message starts at the beginning
        of a line.
        """

    def feed(self, octets: bytes) -> bytes:
        """Return the next bytes of the message, with the dots at the beginning of lines doubled."""
        start = self._last + octets[:2]
        # The boundary between two parts may split a line ending: `CR|LF.` or `CRLF|.`. Inside a part, `replace` finds
        # the line ending and the dot.
        if octets[:1] == b"." and self._last == b"\r\n":
            stuffed = b"." + octets.replace(b"\r\n.", b"\r\n..")
        elif octets[:2] == b"\n." and self._last.endswith(b"\r"):
            stuffed = b"\n." + octets[1:].replace(b"\r\n.", b"\r\n..")
        else:
            stuffed = octets.replace(b"\r\n.", b"\r\n..")
        self._last = octets[-2:] if len(octets) >= 2 else start[len(octets) :][:2]
        return stuffed

    def end(self) -> bytes:
        """Return the end of the message: a line that contains only a dot."""
        return b".\r\n" if self._last == b"\r\n" else b"\r\n.\r\n"


def xtext(text: str) -> str:
    """Encode text as xtext (RFC 3461 section 4).

    The bytes `+`, `=`, and all bytes that are not visible ASCII are replaced by `+` and two hex digits.
    """
    return re.sub(r"[^!-*,-<>-~]", lambda found: "".join(f"+{octet:02X}" for octet in found[0].encode()), text)


def unitext(text: str) -> str:
    r"""Encode text as unitext in ASCII (RFC 6533 section 3).

    The characters `+`, `=`, `\`, and all characters that are not visible ASCII are replaced by `\x{…}`.
    """
    return re.sub(r"[^!-*,-<>-\[\]-~]", lambda found: f"\\x{{{ord(found[0]):02X}}}", text)


def _is_visible(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable()


def _is_utf8(octets: bytes) -> bool:
    try:
        octets.decode()
    except UnicodeDecodeError:
        return False
    return True


@lru_cache(maxsize=1024)
def _path(address: str) -> str:
    if not _PATH.fullmatch(address):
        raise Unsayable(f"{address!a} cannot be sent as an address")
    return addresses.with_ascii_domain(address)
