"""Find the parts of a message (RFC 2045, RFC 2046), in one pass and without copying them.

The standard library's `email` needs memory of ten times the message, and calls itself for each level: 1,000 nested
multiparts exceed Python's recursion limit. So this module only remembers offsets, and calls nothing recursively. It
visits each line that begins with two hyphens once.
"""

from collections.abc import Iterator

from msgspec import Struct, field

from waypost.mime import fields
from waypost.mime.fields import Fields, Octets
from waypost.mime.message import PARTS_LIMIT


class Limits(Struct, frozen=True, kw_only=True):
    """The limits within which a message is read."""

    depth: int = 50
    """The maximum depth of parts. A multipart at this depth is shown as one part."""
    parts: int = PARTS_LIMIT
    """The maximum number of parts that are listed."""
    text: int = 1024 * 1024
    """The maximum size of the text that is decoded, in bytes."""
    header: int = 256 * 1024
    """The maximum size of the message's header that is read, in bytes."""
    header_lines: int = 5_000
    """The maximum number of lines of the message's header that are read."""
    part_header: int = 16 * 1024
    """The maximum size of the header of a part that is read, in bytes."""
    part_header_lines: int = 200
    """The maximum number of lines of the header of a part that are read."""
    delimiters: int = 200_000
    """The maximum number of lines that are examined because they begin with two hyphens."""


class Node(Struct):
    """A part, as offsets in the message."""

    number: int
    depth: int
    fields: Fields
    start: int
    """The offset of the content, after the header."""
    end: int
    """The offset after the content."""
    parent: "Node | None"
    children: "list[Node]" = field(default_factory=list)
    boundary: bytes | None = None
    """The boundary, if the node is a multipart whose parts are read."""

    @property
    def is_container(self) -> bool:
        """Whether the node's content is other parts."""
        return bool(self.children) or self.boundary is not None


class Structure:
    """The parts of one message, and what is wrong with them."""

    def __init__(self, raw: Octets, limits: Limits) -> None:
        self.nodes: list[Node] = []
        self.problems: list[str] = []
        self._raw = raw
        self._limits = limits
        self._open: list[Node] = []
        """The parts whose end is not known yet, from the message itself to the innermost part."""
        self._boundaries: dict[bytes, list[Node]] = {}
        """The open multiparts with each boundary, the innermost last."""
        self._left_out = 0
        self._at = 0
        """The offset up to which the message has been examined."""
        self._begin(None, 0)
        self._find_parts()
        self._close_all()

    def _find_parts(self) -> None:
        for start, end, line in self._delimiter_lines():
            node, is_end = self._delimited(line)
            if node is None:
                continue
            self._close_above(node, self._before_line_end(start))
            self._at = end
            if is_end:
                self._forget_boundary(node)
            elif len(self.nodes) >= self._limits.parts:
                self._left_out += 1
            else:
                self._begin(node, end)

    def _delimiter_lines(self) -> Iterator[tuple[int, int, bytes]]:
        """Yield the start, the end and the text of each line that begins with two hyphens, while any multipart is open.

        Goes on at `_at`, which the caller moves forward.
        """
        examined = 0
        while self._boundaries:
            if self._raw.startswith(b"--", self._at) and self._is_line_start(self._at):
                start = self._at
            else:
                found = self._raw.find(b"\n--", self._at)
                if found < 0:
                    return
                start = found + 1
            examined += 1
            if examined > self._limits.delimiters:
                self.problems.append(
                    f"The message has more than {self._limits.delimiters:,} lines that begin with two hyphens, so its "
                    "last parts were not separated."
                )
                return
            newline = self._raw.find(b"\n", start, start + fields.BOUNDARY_LIMIT + 80)
            is_whole = newline >= 0 or start + fields.BOUNDARY_LIMIT + 80 >= len(self._raw)
            end = newline + 1 if newline >= 0 else len(self._raw) if is_whole else start + 2
            self._at = end
            if is_whole:
                yield start, end, bytes(self._raw[start + 2 : end]).rstrip(b" \t\r\n")

    def _is_line_start(self, at: int) -> bool:
        return at == 0 or self._raw[at - 1] == 0x0A

    def _delimited(self, line: bytes) -> tuple[Node | None, bool]:
        """Return the multipart to which a delimiter belongs, and whether the delimiter ends the multipart."""
        if line in self._boundaries:
            return self._boundaries[line][-1], False
        if line.endswith(b"--") and line[:-2].rstrip(b" \t") in self._boundaries:
            return self._boundaries[line[:-2].rstrip(b" \t")][-1], True
        return None, False

    def _begin(self, parent: Node | None, at: int) -> None:
        """Begin the part whose header is at `at`. An embedded message is begun with the part that contains it."""
        while True:
            number, depth = len(self.nodes) + 1, parent.depth + 1 if parent else 0
            header, start, self._at = fields.read(
                self._raw,
                at,
                octets=self._limits.part_header if parent else self._limits.header,
                lines=self._limits.part_header_lines if parent else self._limits.header_lines,
                is_delimiter=lambda line: self._delimited(line.rstrip(b" \t\r\n")[2:])[0] is not None,
            )
            node = Node(number, depth, header, start, len(self._raw), parent)
            self.problems += [f"{_name(number)} {problem}" for problem in header.problems]
            if parent:
                parent.children.append(node)
            self.nodes.append(node)
            self._open.append(node)
            if not self._has_message(node):
                break
            parent, at = node, start
        self._open_multipart(node)

    def _has_message(self, node: Node) -> bool:
        """Return whether a part contains an embedded message whose parts are read."""
        if node.fields.content_type not in {"message/rfc822", "message/global"} or node.fields.is_encoded:
            return False
        return self._is_within_limits(node)

    def _open_multipart(self, node: Node) -> None:
        if not node.fields.content_type.startswith("multipart/"):
            return
        boundary = node.fields.boundary
        if not boundary:
            self.problems.append(f"{_name(node.number)} is a multipart without a boundary, so it is shown as one part.")
        elif self._is_within_limits(node):
            node.boundary = boundary
            self._boundaries.setdefault(boundary, []).append(node)

    def _is_within_limits(self, node: Node) -> bool:
        if node.depth >= self._limits.depth:
            self.problems.append(
                f"{_name(node.number)} is more than {self._limits.depth} levels deep, so it is shown as one part."
            )
            return False
        return len(self.nodes) < self._limits.parts

    def _before_line_end(self, at: int) -> int:
        """Return the offset before the line end that belongs to the delimiter at `at` (RFC 2046 section 5.1.1)."""
        return at - 2 if self._raw[at - 2 : at - 1] == b"\r" else at - 1

    def _close_above(self, node: Node, end: int) -> None:
        """End all parts inside of a multipart."""
        while self._open[-1] is not node:
            closed = self._open.pop()
            closed.end = max(end, closed.start)
            self._check_end(closed)

    def _close_all(self) -> None:
        for node in reversed(self._open):
            self._check_end(node)
        if self._left_out:
            self.problems.append(
                f"The message has more than {self._limits.parts} parts. At least {self._left_out:,} more are not shown."
            )

    def _check_end(self, node: Node) -> None:
        if node.boundary is None:
            return
        if node in self._boundaries.get(node.boundary, ()):
            self._forget_boundary(node)
            what = "has no end" if node.children else "has no parts"
            self.problems.append(f"{_name(node.number)} is a multipart that {what}.")
            if not node.children:
                node.boundary = None  # it is shown as one part

    def _forget_boundary(self, node: Node) -> None:
        assert node.boundary is not None
        nodes = self._boundaries[node.boundary]
        nodes.remove(node)
        if not nodes:
            del self._boundaries[node.boundary]


def _name(number: int) -> str:
    return "The message" if number == 1 else f"Part {number}"
