"""Tests that commands are parsed as RFC 5321 section 4.1 defines them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.smtp.protocol import grammar


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("NOOP", ("NOOP", "")),
        ("noop", ("NOOP", "")),
        ("HELO  client.example ", ("HELO", "client.example")),
        ("MAIL FROM:<a@b.example> SIZE=1", ("MAIL", "FROM:<a@b.example> SIZE=1")),
        ("HELO\tclient.example", ("HELO\tCLIENT.EXAMPLE", "")),
        (" NOOP", ("", "NOOP")),
        ("", ("", "")),
    ],
)
def test_a_line_is_split_into_a_verb_and_an_argument(line, command):
    assert grammar.split_command(line) == command


HTTP_LINES = [
    "GET / HTTP/1.1",
    "GET /",
    "post / HTTP/1.1",
    "PUT",
    "PRI * HTTP/2.0",
    "CONNECT mail.example:25 HTTP/1.1",
    "MAIL / HTTP/1.1",
    "PROPFIND /a b HTTP/1.1",
    "M-SEARCH * HTTP/1.1",
    "NOOP x HTTP/3",
    "GET /" + 3_000 * "x" + " HTTP/1.1",
    "Host: mail.example",
    "sec-ch-ua: x",
    "Subject:",
    64 * "x" + ":",
]
SMTP_LINES = [
    "",
    "MAIL FROM:<a@b.example>",
    "MAIL FROM:<get@b.example> SIZE=1",
    "RCPT TO:<http@b.example>",
    "EHLO post.example",
    "EHLO [IPv6:2001:db8::1]",
    "NOOP GET / HTTP",
    "NOOP HTTP/1.1",
    "GETS / HTTP",
    "PUTTING",
    "NOOP x HTTP/1.1 ",
    " GET / HTTP/1.1",
    ":",
    65 * "x" + ":",
    "MAIL " + 3_000 * "x" + " HTTP/1.1",
]


@pytest.mark.parametrize("line", [*HTTP_LINES, *SMTP_LINES])
def test_an_http_line_is_recognised_by_its_method_its_version_or_its_colon(line):
    assert grammar.is_http(f"{line}\r\n".encode()) is (line in HTTP_LINES)


@pytest.mark.parametrize(
    ("argument", "text", "parameters"),
    [
        ("FROM:<a@b.example>", "a@b.example", {}),
        ("from:<a@b.example>", "a@b.example", {}),
        ("FROM: <a@b.example>", "a@b.example", {}),
        ("FROM:<>", "", {}),
        ("FROM:<> SIZE=5", "", {"SIZE": "5"}),
        ("FROM:<a@b.example> size=5 SMTPUTF8", "a@b.example", {"SIZE": "5", "SMTPUTF8": ""}),
        ("FROM:<a@b.example>  BODY=7BIT  ", "a@b.example", {"BODY": "7BIT"}),
        ('FROM:<"a> SIZE=1"@b.example> SIZE=2', '"a> SIZE=1"@b.example', {"SIZE": "2"}),
        (r'FROM:<"a\">"@b.example>', r'"a\">"@b.example', {}),
        ("FROM:<a@b.example> X=<y>", "a@b.example", {"X": "<y>"}),
    ],
)
def test_a_path_has_an_address_and_parameters(argument, text, parameters):
    assert grammar.parse_path(argument, "FROM") == grammar.Path(text, parameters)


@pytest.mark.parametrize(
    "argument",
    ["", "FROM", "FROM:", "FROM:<", "FROM:>", "FROM:a", "TO:<a>", "FROM:<a>b", "FROM:<<a>>", 'FROM:<"a>', "FROM:\t<a>"],
)
def test_a_malformed_path_is_a_syntax_error(argument):
    with pytest.raises(grammar.BadSyntax):
        grammar.parse_path(argument, "FROM")


@pytest.mark.parametrize("parameters", ["SIZE=", "=5", "SIZE=1=2", "-X", "X_Y=1", "SIZE=1 size=2", "ſize", "X=\x01"])
def test_a_malformed_or_repeated_parameter_is_refused(parameters):
    with pytest.raises(grammar.BadParameter):
        grammar.parse_path(f"FROM:<> {parameters}", "FROM")


@pytest.mark.parametrize(
    "path",
    [
        "",
        "a@b",
        "a.b+c@d.example",
        "a@[192.0.2.1]",
        "a@[IPv6:::1]",
        '"a b"@c.example',
        r'"\""@c.example',
        "ä@ö.example",
    ],
)
def test_a_sender_is_a_mailbox_or_empty(path):
    assert grammar.is_reverse_path(path)


@pytest.mark.parametrize(
    "path",
    [
        "a",
        "@b",
        "a@",
        "a b@c",
        "a@b c",
        ".a@b",
        "a.@b",
        "a..b@c",
        "a@b@c",
        '"a@b',
        '"a"b@c',
        "a@[b",
        "a@[b]c",
        "a\x7f@b",
    ],
)
def test_a_malformed_mailbox_is_refused_as_sender_and_as_recipient(path):
    assert not grammar.is_reverse_path(path)
    with pytest.raises(grammar.BadSyntax):
        grammar.parse_recipient(path, hostname="mail.example")


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("support@example.com", "support@example.com"),
        ("SUPPORT@EXAMPLE.COM", "support@example.com"),
        ('"support"@example.com', "support@example.com"),
        (r'"s\upport"@example.com', "support@example.com"),
        (r'"a\\b\"c"@example.com', r'a\b"c@example.com'),
        ("support@bücher.example", "support@xn--bcher-kva.example"),
    ],
)
def test_a_recipient_has_a_normalised_key_and_its_original_text(path, key):
    address = grammar.parse_recipient(path, hostname="mail.example")
    assert (address.key, address.text) == (key, path)


@pytest.mark.parametrize(
    "path", ["a@[192.0.2.1]", '""@b.example', "a@b..example", "a@-b.example", f"{65 * 'a'}@b.example"]
)
def test_a_recipient_that_cannot_be_an_email_address_here_gives_no_address(path):
    assert grammar.parse_recipient(path, hostname="mail.example") is None


@given(text=st.text(alphabet=st.characters(exclude_characters="\r\n")))
def test_any_path_is_parsed_or_refused_with_a_documented_exception(text):
    for argument in (text, f"TO:{text}", f"TO:<{text}>", f"TO:<a@{text}>", f"TO:<a@b.example> {text}"):
        try:
            grammar.parse_recipient(grammar.parse_path(argument, "TO").text, hostname="mail.example")
        except (grammar.BadSyntax, grammar.BadParameter):
            continue


@pytest.mark.parametrize("name", ["client.example", "[192.0.2.7]", "under_score", "x" * 255, "!"])
def test_a_single_word_of_visible_ascii_is_a_helo_name(name):
    assert grammar.is_helo_name(name)


@pytest.mark.parametrize("name", ["", "two words", "x" * 256, "bücher.example", "a\tb", "a\x00", "a\x7f"])
def test_any_other_string_is_not_a_helo_name(name):
    assert not grammar.is_helo_name(name)
