"""The line of a key in a settings file is the line on which the key begins."""

import pytest

from waypost.config.lines import line_of

FILE = '''# hostname = "a"
hostname = "b"
data = """
smtp = "c"
"""
smtp-memory = 9
"tls_key" = 1

[[route]]
match = "*"
[[route]]
match = [
  "*",
]
# connections = 1
connections = 0

[delivery]
retry_schedule = [
  "1m",
]
bounces_via = { to = "inbox" }
connections = 0
'''


@pytest.mark.parametrize(
    ("at", "line"),
    [
        (("hostname",), 2),
        (("data",), 3),
        (("smtp",), None),
        (("smtp_memory",), 6),
        (("tls_key",), 7),
        (("route",), 9),
        (("route", 0), 9),
        (("route", 1), 11),
        (("route", 0, "match"), 10),
        (("route", 1, "match"), 12),
        (("route", 0, "connections"), None),
        (("route", 1, "connections"), 16),
        (("delivery",), 18),
        (("delivery", "retry_schedule"), 19),
        (("delivery", "bounces_via"), 22),
        (("delivery", "bounces_via", "to"), 22),
        (("delivery", "connections"), 23),
        (("retention", 0), None),
    ],
)
def test_the_line_of_a_key_is_the_line_on_which_it_begins(at, line):
    assert line_of(FILE, at) == line


def test_lines_that_end_in_crlf_are_counted():
    assert line_of(FILE.replace("\n", "\r\n"), ("smtp_memory",)) == 6


def test_invalid_toml_after_a_key_does_not_change_the_line_of_the_key():
    assert line_of("a = 1\nb = 2\nc = = 3\n", ("b",)) == 2
