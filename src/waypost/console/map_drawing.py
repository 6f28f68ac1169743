"""Draws the map of mail as SVG: columns of aliases, primaries, routes and destinations, with connectors between them.

The drawing has classes and no styles, because the policy of the page forbids inline styles. All texts are escaped.
"""

import itertools
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from html import escape
from math import sqrt
from typing import NamedTuple
from unicodedata import east_asian_width

from msgspec import Struct
from msgspec.structs import replace

COLUMNS = ("Aliases", "Primaries", "Routes", "Destinations")
"""The titles of the columns."""

MOST_NODES = 60
"""The maximum number of nodes of a map that is drawn without groups."""

_MOST_IN_COLUMN = 15
"""The maximum number of nodes in a column of a map with groups."""

_LETTERS = 32
"""The maximum number of characters on a line of a label. A longer label has two lines."""

_LETTER, _LINE = 7.3, 15
"""The width of a character in the monospace typeface, and the distance between two lines of a label."""

_PADDING, _NARROWEST, _GAP, _TOP = 8, 110, 70, 30
"""The space between a label and the sides of its node, the smallest width of a node, the space between columns, and the
height of the titles. All are in pixels."""

_BOX, _SPACE = 11, 10
"""The height of a node without the lines of its label, and the space between two nodes."""

_THINNEST, _THICKEST = 1.5, 10.0
"""The widths of connectors. Without volumes, all connectors have the smaller one."""


class Chain(Struct, frozen=True):
    """The path of mail through the columns. A chain without a link has no alias; an empty label is no node."""

    alias: str
    primary: str
    route: str
    destination: str
    volume: int = 0
    """The number of deliveries that took this path."""

    @property
    def labels(self) -> tuple[str, str, str, str]:
        """The labels of the chain by column."""
        return self.alias, self.primary, self.route, self.destination


class Node(NamedTuple):
    """A node: its column and its label."""

    column: int
    label: str


def count_nodes(chains: Iterable[Chain]) -> int:
    """Return how many nodes the map of some chains has."""
    return len({node for chain in chains for node in _nodes(chain)})


def found(chains: Sequence[Chain], text: str) -> list[bool]:
    """Return for each chain whether one of its labels contains a text, without regard to case. If the text is empty, no
    chain is found.
    """
    wanted = text.casefold()
    return [bool(wanted) and any(wanted in label.casefold() for label in chain.labels) for chain in chains]


def grouped(chains: Sequence[Chain]) -> list[Chain]:
    """Return the chains with their email addresses, and the routes for one address, grouped by domain.

    In each column, the domains with the fewest alias links and email addresses form one group, so that the map remains
    readable.
    """
    by_domain = [
        replace(chain, alias=_domain(chain.alias), primary=_domain(chain.primary), route=_domain(chain.route))
        for chain in chains
    ]
    names = [_group_names(column, chains, by_domain) for column in range(len(COLUMNS))]
    return [_renamed(chain, names) for chain in by_domain]


def _renamed(chain: Chain, names: Sequence[Mapping[str, str]]) -> Chain:
    """Return a chain with other labels. `names` has the new labels of each column by the old ones."""
    alias, primary, route, destination = (
        of_column.get(label, label) for of_column, label in zip(names, chain.labels, strict=True)
    )
    return Chain(alias, primary, route, destination, chain.volume)


def _domain(label: str) -> str:
    """Return the domain of an email address; another label, such as `*@example.com`, is its own group."""
    local, at, domain = label.rpartition("@")
    return f"@{domain}" if at and local != "*" else label


def _group_names(column: int, chains: Sequence[Chain], by_domain: Sequence[Chain]) -> dict[str, str]:
    """Return the name of each group in a column. It has the number of different labels in the group."""
    members: dict[str, set[str]] = {}
    linked: Counter[str] = Counter()
    for chain, of_domain in zip(chains, by_domain, strict=True):
        group = of_domain.labels[column]
        if group:
            members.setdefault(group, set()).add(chain.labels[column])
            linked[group] += bool(chain.alias and chain.primary)
    by_rank = sorted(members, key=lambda group: (-linked[group], -len(members[group]), group))
    kept = len(by_rank) if len(by_rank) <= _MOST_IN_COLUMN else _MOST_IN_COLUMN - 1
    names = {group: f"{group} ({len(members[group])})" if group.startswith("@") else group for group in by_rank[:kept]}
    return names | dict.fromkeys(by_rank[kept:], f"{len(by_rank) - kept} others")


def drawing(
    chains: Sequence[Chain], *, links: Mapping[str, str], is_found: Sequence[bool] = (), description: str = ""
) -> str:
    """Return the SVG of the map.

    `links` has the URLs of labels. The nodes and connectors of the chains for which `is_found` is true are highlighted.
    `description` describes the drawing for people who cannot see it.
    """
    highlighted = {node for chain, yes in zip(chains, is_found, strict=False) if yes for node in _nodes(chain)}
    bright = {edge for chain, yes in zip(chains, is_found, strict=False) if yes for edge in _edges(chain)}
    frame = _Frame(chains)
    parts = [
        (
            f'<svg class="map" viewBox="-2 0 {frame.width + 4} {frame.height}" width="{frame.width + 4}"'
            f' height="{frame.height}" role="group" aria-label="{escape(description)}"'
            ' xmlns="http://www.w3.org/2000/svg">'
        ),
        *(
            f'<text class="title" x="{left}" y="16">{title}</text>'
            for left, title in zip(frame.lefts, COLUMNS, strict=True)
        ),
        *_connectors(chains, frame, bright),
        *(_box(node, frame, links.get(node.label, ""), is_found=node in highlighted) for node in frame.places),
        "</svg>",
    ]
    return "\n".join(parts)


def lines(label: str) -> list[str]:
    """Return the lines on which a label is drawn: one or, for a longer label, two. An email address is broken before
    its `@`, and a path after a slash. If a line is still too long, its middle is left out, because its beginning and
    its end say more.
    """
    if len(label) <= _LETTERS:
        return [label]
    local, at, domain = label.rpartition("@")
    cut = label.rfind("/", len("maildir:"), _LETTERS) + 1 or _LETTERS
    first, second = (local, at + domain) if at else (label[:cut], label[cut:])
    return [_shortened(line) for line in (first, second) if line]


def _shortened(line: str) -> str:
    kept = _LETTERS // 2
    return line if len(line) <= _LETTERS else f"{line[: _LETTERS - kept - 1]}…{line[-kept:]}"


class _Frame:
    """Where the columns and the nodes are, in pixels."""

    def __init__(self, chains: Iterable[Chain]) -> None:
        # The chains are ordered from their destinations, so that few connectors cross.
        columns: list[dict[Node, None]] = [{} for _ in COLUMNS]
        for chain in sorted(chains, key=lambda one: one.labels[::-1]):
            for node in _nodes(chain):
                columns[node.column][node] = None
        self.labels = {node: lines(node.label) for column in columns for node in column}
        """The lines of each node's label."""
        self.box = _BOX + _LINE * max(map(len, self.labels.values()), default=1)
        """The height of a node."""
        rows, step = max(1, *map(len, columns)), self.box + _SPACE
        self.height = _TOP + rows * step
        self.places = {
            node: _TOP + (place + 0.5) * rows * step / len(column)
            for column in columns
            for place, node in enumerate(column)
        }
        """The vertical centre of each node."""
        self.widths = [self._width_of(column) for column in columns]
        self.lefts = [sum(self.widths[:column]) + column * _GAP for column in range(len(COLUMNS))]
        """The left sides of the columns."""
        self.width = self.lefts[-1] + self.widths[-1]

    def _width_of(self, column: Iterable[Node]) -> int:
        letters = max((_cells(line) for node in column for line in self.labels[node]), default=0)
        return max(_NARROWEST, round(letters * _LETTER) + 2 * _PADDING)


def _cells(text: str) -> int:
    """Return how many characters wide a text is. Chinese, Japanese and Korean characters are two wide."""
    return sum(2 if east_asian_width(each) in "WF" else 1 for each in text)


def _nodes(chain: Chain) -> list[Node]:
    return [Node(column, label) for column, label in enumerate(chain.labels) if label]


def _edges(chain: Chain) -> list[tuple[Node, Node]]:
    nodes = _nodes(chain)
    return list(itertools.pairwise(nodes))


def _connectors(chains: Iterable[Chain], frame: _Frame, bright: Collection[tuple[Node, Node]]) -> Iterable[str]:
    volumes: Counter[tuple[Node, Node]] = Counter()
    for chain in chains:
        for edge in _edges(chain):
            volumes[edge] += chain.volume
    most = max(volumes.values(), default=0)
    # The highlighted connectors are last, so that they are drawn over the others.
    for edge in sorted(volumes, key=lambda one: one in bright):
        start, end = edge
        share = sqrt(volumes[edge] / most) if most else 0.0
        width = _THINNEST + (_THICKEST - _THINNEST) * share
        from_x, to_x = frame.lefts[start.column] + frame.widths[start.column], frame.lefts[end.column]
        title = f"{start.label} → {end.label}" + (f": {volumes[edge]} in the last day" if most else "")
        yield (
            f'<line class="edge{" found" if edge in bright else ""}" x1="{from_x}"'
            f' y1="{frame.places[start]:.1f}" x2="{to_x}" y2="{frame.places[end]:.1f}"'
            f' stroke-width="{width:.1f}"><title>{escape(title)}</title></line>'
        )


def _box(node: Node, frame: _Frame, url: str, *, is_found: bool) -> str:
    """Return a node. Its title, the whole label, is its tooltip, and its name for people who cannot see it."""
    left, y, label = frame.lefts[node.column], frame.places[node], frame.labels[node]
    first = y + 4 - (len(label) - 1) * _LINE / 2
    texts = "".join(
        f'<text x="{left + _PADDING}" y="{first + place * _LINE:.1f}">{escape(line)}</text>'
        for place, line in enumerate(label)
    )
    box = (
        f'<g class="node{" found" if is_found else ""}" role="img"><title>{escape(node.label)}</title>'
        f'<rect x="{left}" y="{y - frame.box / 2:.1f}" width="{frame.widths[node.column]}" height="{frame.box}"'
        f' rx="4"/>{texts}</g>'
    )
    return f'<a href="{escape(url)}">{box}</a>' if url else box
