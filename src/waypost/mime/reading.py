"""Read a message under limits. The functions are pure, and no input raises an exception but `NoSuchPart`."""

import binascii
import re

from waypost.domain.mail import charsets, encoded_words
from waypost.mime import cleaning, html_text
from waypost.mime.fields import Octets
from waypost.mime.message import MimeMessage, NoSuchPart, Part, PartContent
from waypost.mime.structure import Limits, Node, Structure

__all__ = ["Limits", "PartContent", "html_of", "part", "parts_by_content_id", "read"]

PROBLEMS = 50
"""The maximum number of problems that are listed."""

_LIMITS = Limits()
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]+")


def read(raw: Octets, limits: Limits = _LIMITS) -> MimeMessage:
    """Return the headers, the parts and the text of a message, which may be any bytes."""
    return _Reading(raw, limits).message()


def part(raw: Octets, number: int, limits: Limits = _LIMITS) -> PartContent:
    """Return the content of a part. Raises `NoSuchPart`."""
    reading = _Reading(raw, limits)
    if not 1 <= number <= len(reading.nodes):
        raise NoSuchPart(number)
    node = reading.nodes[number - 1]
    return PartContent(reading.octets(node), node.fields.content_type, node.fields.charset, node.fields.filename)


def parts_by_content_id(raw: Octets, limits: Limits = _LIMITS) -> dict[str, int]:
    """Return the number of the first picture with each Content-ID."""
    numbers: dict[str, int] = {}
    for node in Structure(raw, limits).nodes:
        content_type = node.fields.content_type
        if node.fields.content_id and content_type.startswith("image/") and content_type != "image/svg+xml":
            numbers.setdefault(node.fields.content_id, node.number)
    return numbers


def html_of(content: PartContent, limits: Limits = _LIMITS) -> tuple[str, tuple[str, ...]]:
    """Return the text of an HTML part, and sentences about what is wrong with it."""
    problems: list[str] = []
    text = _decoded(content.octets[: limits.text], content.charset, "The HTML", problems)
    if len(content.octets) > limits.text:
        problems.append(f"The HTML is larger than {limits.text:,} bytes, so its end is not shown.")
    return text, tuple(problems)


class _Reading:
    """One message that is being read."""

    def __init__(self, raw: Octets, limits: Limits) -> None:
        structure = Structure(raw, limits)
        self.nodes = structure.nodes
        self._raw = memoryview(raw)
        self._limits = limits
        self._problems = structure.problems
        self._text_left = limits.text

    def message(self) -> MimeMessage:
        parts = tuple(self._part(node) for node in self.nodes)
        text = self._text(self.nodes[0])
        return MimeMessage(
            tuple((name, self._value(name, value)) for name, value in self.nodes[0].fields.lines),
            parts,
            text,
            self._html_part(),
            self._listed_problems(),
        )

    def octets(self, node: Node) -> bytes:
        """Return the content of a part, with its transfer encoding decoded if it is not a container."""
        return self._decoded_octets(node, self._raw[node.start : node.end])

    def _decoded_octets(self, node: Node, octets: memoryview) -> bytes:
        if node.is_container or not node.fields.is_encoded:
            return bytes(octets)
        if node.fields.encoding == "quoted-printable":
            return binascii.a2b_qp(octets)
        try:
            return binascii.a2b_base64(octets)
        except binascii.Error:
            self._problems.append(f"{_name(node)} is not valid base64.")
            digits = _NOT_BASE64.sub(b"", octets)
            return binascii.a2b_base64(digits[: len(digits) - (len(digits) % 4 == 1)] + b"==")

    def _value(self, name: str, value: bytes) -> str:
        text = encoded_words.decode(value)
        if any(each in text for each in cleaning.OVERRIDES):
            self._problems.append(f"Characters that override the direction of text were removed from {name}.")
        return cleaning.one_line(text)

    def _part(self, node: Node) -> Part:
        fields = node.fields
        size = len(self.octets(node)) if not node.is_container and fields.is_encoded else node.end - node.start
        return Part(
            node.number,
            fields.content_type,
            fields.charset,
            fields.filename,
            fields.content_id,
            fields.disposition,
            size,
            node.depth,
            _is_attachment(node),
        )

    def _html_part(self) -> int | None:
        for node in self.nodes:
            if node.fields.content_type == "text/html" and _is_shown(node):
                return node.number
        return None

    def _text(self, node: Node) -> str:
        """Return the text of a part and of the parts inside of it."""
        if node.boundary is not None or node.children:
            if node.fields.content_type == "multipart/alternative":
                return self._alternative(node)
            return "\n".join(filter(None, (self._text(child) for child in node.children if not _is_attachment(child))))
        if node.fields.content_type == "text/html":
            return cleaning.text(html_text.text_of(self._leaf_text(node)))  # entities can name any character
        if node.fields.content_type.startswith(("text/", "multipart/")):
            return self._leaf_text(node)
        return ""

    def _alternative(self, node: Node) -> str:
        """Return the text of the alternative that is plain text, or else of the first one that has a text."""
        plain_first = sorted(node.children, key=lambda child: child.fields.content_type != "text/plain")
        for child in plain_first:
            if not _is_attachment(child) and (text := self._text(child)).strip():
                return text
        return ""

    def _leaf_text(self, node: Node) -> str:
        if node.fields.is_encoded:
            octets = self.octets(node)
        else:
            octets = bytes(self._raw[node.start : min(node.end, node.start + self._text_left + 1)])
        if len(octets) > self._text_left:
            self._problems.append(f"The text is larger than {self._limits.text:,} bytes, so its end is not shown.")
            octets = octets[: self._text_left]
        self._text_left -= len(octets)
        return cleaning.text(_decoded(octets, node.fields.charset, _name(node), self._problems))

    def _listed_problems(self) -> tuple[str, ...]:
        problems = list(dict.fromkeys(self._problems))
        if len(problems) > PROBLEMS:
            problems[PROBLEMS:] = [f"There are {len(problems) - PROBLEMS:,} more problems."]
        return tuple(problems)


def _is_attachment(node: Node) -> bool:
    fields = node.fields
    if fields.content_type.startswith("message/"):
        return node.parent is not None
    if node.is_container:
        return False
    if fields.disposition == "attachment":
        return True
    if fields.content_type in {"text/plain", "text/html"}:
        return fields.filename is not None and fields.disposition != "inline"
    if fields.content_type.startswith("image/") and fields.content_id:
        return False  # HTML shows it
    return node.parent is not None or not fields.content_type.startswith(("text/", "multipart/"))


def _is_shown(node: Node) -> bool:
    """Whether a part is shown as a piece of the message: neither it nor a part around it is an attachment."""
    each: Node | None = node
    while each:
        if _is_attachment(each):
            return False
        each = each.parent
    return True


def _decoded(octets: bytes, charset: str | None, name: str, problems: list[str]) -> str:
    """Decode text in a named charset; as UTF-8 or windows-1252 if the charset is missing or unknown."""
    decoder = charsets.decoder(charset) if charset and charset != "us-ascii" else None
    if decoder:
        return decoder(octets)
    if charset and charset != "us-ascii":
        problems.append(f"{name} has a charset that is unknown.")
    try:
        return octets.decode("utf-8-sig")
    except UnicodeDecodeError:
        return octets.decode("cp1252", "replace")


def _name(node: Node) -> str:
    return "The message" if node.parent is None else f"Part {node.number}"
