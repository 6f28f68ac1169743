"""The map: the drawing from values to SVG, and its page."""

import html
import itertools
import re
import xml.etree.ElementTree as ET
from functools import partial

import pytest

from tests.kit.patience import wait_until
from waypost.app.mail import routes
from waypost.console import map_drawing
from waypost.console.map_drawing import Chain
from waypost.domain.mail.routes import Route

HOSTILE = "<script>\"&'@x.example"


def elements(svg, name):
    return list(ET.fromstring(svg).iter(f"{{http://www.w3.org/2000/svg}}{name}"))


def labels(svg):
    return {node.find("{*}title").text for node in elements(svg, "g")}


def chain(number, *, domain="example.com"):
    return Chain(f"alias{number}@{domain}", f"desk{number}@{domain}", "no route", "inbox")


def test_each_node_is_drawn_once_and_chains_are_connected():
    chains = [chain(1), chain(2), Chain("", "desk1@example.com", "no route", "inbox")]
    svg = map_drawing.drawing(chains, links={})
    assert len(elements(svg, "rect")) == 6
    assert labels(svg) == {label for one in chains for label in one.labels if label}
    assert len(elements(svg, "line")) == 5
    assert {line.get("stroke-width") for line in elements(svg, "line")} == {"1.5"}


@pytest.mark.parametrize(
    ("label", "lines"),
    [
        ("desk@example.com", ["desk@example.com"]),
        ("a" * 20 + "@" + "b" * 11, ["a" * 20 + "@" + "b" * 11]),
        ("a" * 20 + "@" + "b" * 12, ["a" * 20, "@" + "b" * 12]),
        ("a" * 40 + "@shop.example (own copy)", ["a" * 15 + "…" + "a" * 16, "@shop.example (own copy)"]),
        ("smtp://mx.west.ledger.example:2525/x", ["smtp://mx.west.ledger.example:25", "25/x"]),
        ("maildir:" + "/x" * 60, ["maildir:" + "/x" * 11 + "/", "x/x/x/x/x/x/x/x…" + "/x" * 8]),
    ],
)
def test_a_long_label_has_two_lines_and_loses_its_middle_at_last(label, lines):
    assert map_drawing.lines(label) == lines
    assert max(map(len, lines)) <= 32


def test_a_node_is_as_wide_as_its_column_needs_and_has_its_whole_label_as_its_name():
    label = f"{'long.' * 12}@x.example"
    svg = map_drawing.drawing([Chain("", label, "*", "inbox"), Chain("", "b@x.example", "*", "inbox")], links={})
    primaries, routes = ({float(box.get("width")) for box in group} for group in by_column(svg))
    assert primaries == {round(32 * 7.3) + 16}
    assert routes == {110}
    (node,) = [node for node in elements(svg, "g") if node.find("{*}title").text == label]
    assert node.get("role") == "img"
    assert [text.text for text in node.iter("{http://www.w3.org/2000/svg}text")] == map_drawing.lines(label)


def by_column(svg):
    """Return the boxes of the column of primaries, and those of the column of routes."""
    lefts = sorted({float(box.get("x")) for box in elements(svg, "rect")})
    return [[box for box in elements(svg, "rect") if float(box.get("x")) == left] for left in lefts[:2]]


def test_connectors_are_as_wide_as_their_volume():
    chains = [Chain("", "a@x.example", "*", "inbox", 100), Chain("", "b@x.example", "*", "inbox", 25)]
    svg = map_drawing.drawing(chains, links={})
    widths = {line.find("{*}title").text: float(line.get("stroke-width")) for line in elements(svg, "line")}
    assert widths["* → inbox: 125 in the last day"] == 10
    assert widths["a@x.example → *: 100 in the last day"] > widths["b@x.example → *: 25 in the last day"] > 1.5


def test_texts_and_urls_are_escaped_and_there_are_no_styles():
    svg = map_drawing.drawing(
        [Chain(HOSTILE, HOSTILE, HOSTILE, HOSTILE)], links={HOSTILE: '"><x>'}, description=HOSTILE
    )
    assert labels(svg) == {HOSTILE}
    assert elements(svg, "a")[0].get("href") == '"><x>'
    assert "<script" not in svg
    assert " style=" not in svg


def test_a_search_highlights_whole_paths():
    chains = [chain(1), chain(2)]
    is_found = map_drawing.found(chains, "ALIAS1")
    assert is_found == [True, False]
    svg = map_drawing.drawing(chains, links={}, is_found=is_found)
    bright = {node.find("{*}title").text for node in elements(svg, "g") if "found" in node.get("class")}
    assert bright == {"alias1@example.com", "desk1@example.com", "no route", "inbox"}
    assert sum("found" in line.get("class") for line in elements(svg, "line")) == 3
    assert map_drawing.found(chains, "") == [False, False]


@pytest.mark.parametrize("domains", [3, 500])
def test_a_large_map_is_grouped_by_domain(domains):
    chains = [chain(number, domain=f"d{number % domains}.example") for number in range(500)]
    assert map_drawing.count_nodes(chains) > map_drawing.MOST_NODES
    grouped = map_drawing.grouped(chains)
    assert len(grouped) == len(chains)
    assert map_drawing.count_nodes(grouped) <= map_drawing.MOST_NODES
    svg = map_drawing.drawing(grouped, links={})
    assert ("@d0.example (167)" in labels(svg)) is (domains == 3)
    assert ("486 others" in labels(svg)) is (domains == 500)
    assert len(svg) < 20_000


def test_a_large_map_keeps_the_domains_with_links():
    alone = [Chain("", f"desk@d{number}.example", "no route", "inbox") for number in range(100)]
    linked = Chain("support@z.example", "desk@z.example", "no route", "inbox")
    grouped = map_drawing.grouped([*alone, linked])
    assert grouped[-1] == Chain("@z.example (1)", "@z.example (1)", "no route", "inbox")


def test_nodes_do_not_overlap():
    svg = map_drawing.drawing([chain(number) for number in range(12)], links={})
    boxes = sorted((float(box.get("x")), float(box.get("y"))) for box in elements(svg, "rect"))
    height = float(elements(svg, "rect")[0].get("height"))
    for (x, y), (next_x, next_y) in itertools.pairwise(boxes):
        assert x != next_x or next_y >= y + height
    _, _, _, total = map(float, ET.fromstring(svg).get("viewBox").split())
    assert max(y for _, y in boxes) + height <= total


def test_routes_for_one_address_are_grouped_and_others_are_not():
    chains = [
        Chain("", "a@x.example", "a@x.example", "smtp://one"),
        Chain("", "b@x.example", "b@x.example", "smtp://one"),
        Chain("", "c@y.example", "*@y.example", "smtp://one"),
    ]
    assert {one.route for one in map_drawing.grouped(chains)} == {"@x.example (2)", "*@y.example"}


def test_the_own_copy_of_an_alias_has_a_node_if_it_takes_another_route(place):
    primary, alias = place.create("desk"), place.create("support")
    place.associate(primary, alias)
    browser = place.console.browser
    copy = f"{place.address('support')} (own copy)"
    assert copy not in browser.get("/map", find=place.tail).text
    route = Route(match=place.address("desk"), to="smtp://mail.map.example:25")
    number = place.console.write(partial(routes.add_route, route=route, before=None))
    page = browser.get("/map", find=place.tail)
    place.console.write(partial(routes.remove_route, number=number))
    assert copy.replace("@", "@ ") in page.text


def test_the_volumes_of_the_last_day_are_on_the_map_and_on_the_page_of_an_address(place):
    primary, alias = place.create("desk"), place.create("support")
    place.associate(primary, alias)
    for _ in range(2):
        place.console.system.deliver(b"Subject: x\r\n\r\nx\r\n", place.address("support"))
    place.console.system.deliver(b"Subject: x\r\n\r\nx\r\n", place.address("desk"))

    def page():
        return place.get(primary).text

    # A background job counts mail after its commit.
    counted = "1 delivery of mail to it, 2 through its alias"
    wait_until(lambda: counted in page(), page)
    # The drawing is grouped if other tests have made many addresses; the table of a search is not.
    table = place.console.browser.get("/map", find=place.tail).text.replace("@ ", "@")
    assert f"{place.address('support')} {place.address('desk')} no route inbox 2" in table
    assert f"– {place.address('desk')} no route inbox 1" in table


def test_the_map_of_a_domain_has_pages_with_the_linked_addresses_first(place):
    domain = f"{place.tail}.example"
    made = {
        name: place.connect.create_email_address(InstanceId=place.instance_id, EmailAddress=f"{name}@{domain}")
        for name in [f"a{number:02}" for number in range(25)] + ["y", "z"]
    }
    place.associate(made["y"]["EmailAddressId"], made["z"]["EmailAddressId"])
    browser = place.console.browser
    page = browser.get("/map", domain=domain)
    assert "1 to 25 of 27 addresses" in page.text
    assert {f"z@{domain}", f"y@{domain}", f"a22@{domain}"} <= labels(drawing_of(page))
    assert f"a23@{domain}" not in page.text.replace("@ ", "@")
    assert len(page.octets) < 40_000
    following = browser.get(html.unescape(re.search(r'href="([^"]+)">Next 25<', page.html)[1]))
    assert "26 to 27 of 27 addresses" in following.text
    assert {f"a23@{domain}", f"a24@{domain}"} <= labels(drawing_of(following))
    assert "Previous 25" in following.text
    found = browser.get("/map", domain=domain, find="a24")
    assert "1 address" in found.text
    assert "Next 25" not in found.text
    assert "No such address" in browser.get("/map", domain=domain, find="nobody").text
    assert browser.get("/map", domain=domain, **{"from": "x"}).status == 200


def drawing_of(page):
    return re.search(r"<svg class=\"map\".*?</svg>", page.html, re.DOTALL)[0]


def test_the_page_has_a_drawing_and_the_same_paths_as_a_table(console):
    key, _ = console.new_key(account="333333333333")
    browser = console.signed_in(key.id, key.secret)
    assert "No address yet" in browser.get("/map").text
    connect = console.client_of(key)
    instance = connect.create_instance(
        IdentityManagementType="CONNECT_MANAGED", InboundCallsEnabled=True, OutboundCallsEnabled=True
    )["Id"]
    ids = {
        name: connect.create_email_address(InstanceId=instance, EmailAddress=f"{name}@map.example")["EmailAddressId"]
        for name in ("desk", "support", "info")
    }
    connect.associate_email_address_alias(
        InstanceId=instance, EmailAddressId=ids["desk"], AliasConfiguration={"EmailAddressId": ids["support"]}
    )
    page = browser.get("/map", find="support")
    assert page.status == 200
    assert "3 addresses; 1 path with “support”" in page.text
    svg = drawing_of(page)
    assert {"desk@map.example", "support@map.example", "info@map.example"} <= labels(svg)
    assert f"/console/addresses/{connect.meta.region_name}/{instance}/{ids['desk']}" in page.html
    table = page.html[page.html.index("<tbody>") :]
    assert "support@" in table
    assert "info@" not in table
    assert " style=" not in page.html

    for number in range(62):
        connect.create_email_address(InstanceId=instance, EmailAddress=f"n{number}@map{number % 2}.example")
    page = browser.get("/map")
    assert "grouped by domain" in page.text
    assert 'href="/console/map?domain=map1.example"' in page.html
    page = browser.get("/map", domain="map1.example")
    assert "31 addresses" in page.text
    assert "n1@map1.example" in page.html
    assert "desk@map.example" not in page.html
