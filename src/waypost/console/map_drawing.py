"""Draws the map of mail as SVG: columns of aliases, primaries, routes and destinations, with connectors between them.

The drawing has classes and no styles, because the policy of the page forbids inline styles. All texts are escaped.
"""

import itertools
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from math import sqrt
from typing import NamedTuple

COLUMNS = ("Aliases", "Primaries", "Routes", "Destinations")
"""The titles of the columns."""

MOST_NODES = 60
"""The maximum number of nodes of a map that is drawn without groups."""

_MOST_IN_COLUMN = 15
"""The maximum number of nodes in a column of a map with groups."""

_WIDTH, _GAP, _HEIGHT, _STEP, _TOP = 220, 70, 26, 36, 30
"""The width of a node and of the space between columns, the height of a node, the distance between two rows, and the
height of the titles."""

_LETTERS = 30
"""The maximum number of characters of a label."""

_THINNEST, _THICKEST = 1.5, 10.0
"""The widths of connectors. Without volumes, all connectors have the smaller one."""


@dataclass(frozen=True, slots=True)
class Chain:
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
    places, height = _places(chains)
    width = len(COLUMNS) * _WIDTH + (len(COLUMNS) - 1) * _GAP
    parts = [
        (
            f'<svg class="map" viewBox="-2 0 {width + 4} {height}" width="{width + 4}" height="{height}" role="group"'
            f' aria-label="{escape(description)}" xmlns="http://www.w3.org/2000/svg">'
        ),
        *(f'<text class="title" x="{_left(column)}" y="16">{title}</text>' for column, title in enumerate(COLUMNS)),
        *_connectors(chains, places, bright),
        *(_box(node, y, links.get(node.label, ""), is_found=node in highlighted) for node, y in places.items()),
        "</svg>",
    ]
    return "\n".join(parts)


def _nodes(chain: Chain) -> list[Node]:
    return [Node(column, label) for column, label in enumerate(chain.labels) if label]


def _edges(chain: Chain) -> list[tuple[Node, Node]]:
    nodes = _nodes(chain)
    return list(itertools.pairwise(nodes))


def _places(chains: Iterable[Chain]) -> tuple[dict[Node, float], int]:
    """Return the vertical centre of each node, and the height of the drawing.

    The chains are ordered from their destinations, so that few connectors cross.
    """
    columns: list[dict[Node, None]] = [{} for _ in COLUMNS]
    for chain in sorted(chains, key=lambda one: one.labels[::-1]):
        for node in _nodes(chain):
            columns[node.column][node] = None
    rows = max(1, *map(len, columns))
    places = {
        node: _TOP + (place + 0.5) * rows * _STEP / len(column)
        for column in columns
        for place, node in enumerate(column)
    }
    return places, _TOP + rows * _STEP


def _connectors(
    chains: Iterable[Chain], places: Mapping[Node, float], bright: Collection[tuple[Node, Node]]
) -> Iterable[str]:
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
        title = f"{start.label} → {end.label}" + (f": {volumes[edge]} in the last day" if most else "")
        yield (
            f'<line class="edge{" found" if edge in bright else ""}" x1="{_left(start.column) + _WIDTH}"'
            f' y1="{places[start]:.1f}" x2="{_left(end.column)}" y2="{places[end]:.1f}"'
            f' stroke-width="{width:.1f}"><title>{escape(title)}</title></line>'
        )


def _box(node: Node, y: float, url: str, *, is_found: bool) -> str:
    label = node.label if len(node.label) <= _LETTERS else f"{node.label[: _LETTERS - 1]}…"
    left = _left(node.column)
    box = (
        f'<g class="node{" found" if is_found else ""}"><title>{escape(node.label)}</title>'
        f'<rect x="{left}" y="{y - _HEIGHT / 2:.1f}" width="{_WIDTH}" height="{_HEIGHT}" rx="4"/>'
        f'<text x="{left + 8}" y="{y + 4:.1f}">{escape(label)}</text></g>'
    )
    return f'<a href="{escape(url)}">{box}</a>' if url else box


def _left(column: int) -> int:
    return column * (_WIDTH + _GAP)
