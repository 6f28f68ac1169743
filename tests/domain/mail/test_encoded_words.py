"""The text of a header field with encoded words, including malformed ones that occur in practice."""

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.domain.mail import encoded_words


def b(charset, text, codec):
    return f"=?{charset}?B?{b64encode(text.encode(codec)).decode()}?=".encode()


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"=?utf-8?q?Gr=C3=BC=C3=9Fe?= and =?UTF-8?b?8J+YgA==?=", "Grüße and 😀"),
        (b("gb2312", "镕化", "gbk"), "镕化"),
        (b("Shift_JIS", "①㈱髙橋", "cp932"), "①㈱髙橋"),
        (b"=?ISO-2022-JP?B?GyRCLSEtahsoQg==?=", "①㈱"),
        (b"=?iso-8859-1?Q?Don=92t_=8016?=", "Don’t €16"),
    ],
)
def test_encoded_words_are_decoded_in_the_charset_that_senders_mean(octets, text):
    assert encoded_words.decode(octets) == text


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"=?utf-8*de?Q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
        (b"=?utf-8*?Q?x?=", "x"),
        (b"=?us-ascii*en-US?Q?Keith_Moore?=", "Keith Moore"),
    ],
)
def test_an_encoded_word_may_name_its_language(octets, text):
    assert encoded_words.decode(octets) == text


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"=?utf-8?Q?Gr=C3=BC=C3=9Fe?= =?x-unknown?Q?abc?=", "Grüße =?x-unknown?Q?abc?="),
        (b"=?x-unknown?Q?abc?= =?utf-8?Q?Gr=C3=BC=C3=9Fe?=", "=?x-unknown?Q?abc?= Grüße"),
        (b"=?utf-8?b?A?= =?utf-8?b?QQ==?=", "=?utf-8?b?A?= A"),
        (b"=?utf-8?b?broken =?utf-8?q?whole?=", "=?utf-8?b?broken whole"),
        (b"=?utf-8?x?abc?=", "=?utf-8?x?abc?="),
        ("=?ü?q?x?=".encode(), "=?ü?q?x?="),
        (b"=?" + b"x" * 76 + b"?q?x?=", "=?" + "x" * 76 + "?q?x?="),
        (b"=?=?=?utf-8?q?x?=?=", "=?=?x?="),
    ],
)
def test_an_encoded_word_that_cannot_be_decoded_is_left_unchanged(octets, text):
    assert encoded_words.decode(octets) == text


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b'"=?utf-8?Q?Gr=C3=BC=C3=9Fe?="', '"Grüße"'),
        (b"(=?utf-8?Q?a?=)x=?utf-8?Q?b?=y", "(a)xby"),
        (b"=?utf-8?Q?a?= =?utf-8?Q?b?=\t =?iso-8859-1?Q?c?=", "abc"),
        (b"=?utf-8?Q?a?==?utf-8?Q?b?=", "ab"),
        (b"=?utf-8?Q?a_?= =?utf-8?Q?_b?=", "a  b"),
        (b"=?utf-8?Q?a?= , =?utf-8?Q?b?= c", "a , b c"),
    ],
)
def test_only_white_space_between_two_encoded_words_is_removed(octets, text):
    assert encoded_words.decode(octets) == text


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"=?UTF-8?Q?f=C3?= =?utf-8?Q?=BCr?=", "für"),
        (b"=?UTF-8?B?8J8=?= =?utf8*en?Q?=98=80?=", "😀"),
        (b"=?gb2312?B?6Q==?= =?gbk?B?Rg==?=", "镕"),
        (b"=?utf-8?Q?f=C3?= =?iso-8859-1?Q?=BCr?=", "f\ufffd¼r"),
        (b"=?utf-8?Q?f=C3?= x =?utf-8?Q?=BCr?=", "f\ufffd x \ufffdr"),
        (b"=?UTF-8?B?UmVjaG51bmcgZsM=?=", "Rechnung f\ufffd"),
    ],
)
def test_a_character_may_be_split_between_two_encoded_words(octets, text):
    assert encoded_words.decode(octets) == text


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"=?utf-8?Q?Hello there?=", "Hello there"),
        (b"=?utf-8?Q?what??=", "what?"),
        (b"=?utf-8?Q?50=?=", "50"),
        (b"=?utf-8?Q?a=ZZb?=", "a=ZZb"),
        ("=?utf-8?Q?Grüße?=".encode(), "Grüße"),
        (b"=?utf-8?B?R3LDvMOfZQ?=", "Grüße"),
        (b"=?utf-8?B?R3LD vMOf ZQ==?=", "Grüße"),
        (b"=?utf-8?Q??=x=?utf-8?B??=", "x"),
    ],
)
def test_an_encoded_word_with_common_mistakes_is_decoded(octets, text):
    assert encoded_words.decode(octets) == text


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"", ""),
        ("Grüße".encode(), "Grüße"),
        ("Grüße – €16".encode("cp1252"), "Grüße – €16"),
        (b"\x81", "\ufffd"),
        (b"caf\xe9 =?utf-8?Q?caf=C3=A9?= " + "café".encode(), "café café café"),
    ],
)
def test_plain_bytes_are_read_as_utf_8_or_else_as_windows_1252(octets, text):
    assert encoded_words.decode(octets) == text


WORDS = st.sampled_from([b"=?", b"?=", b"=?utf-8?q?", b"=?iso-2022-jp?b?", b"?", b" ", b"=", b"=?a?B?=?=", b"=?q?Q?"])


@given(st.lists(WORDS | st.binary(max_size=5), max_size=40))
def test_arbitrary_bytes_can_be_decoded(parts):
    octets = b"".join(parts)
    assert len(encoded_words.decode(octets)) <= 2 * len(octets)


@given(st.text(max_size=40), st.integers(min_value=0, max_value=40), st.sampled_from(["", " ", "\t "]))
def test_text_is_decoded_no_matter_where_it_is_split_into_encoded_words(text, cut, between):
    octets = text.encode()
    words = [f"=?utf-8?b?{b64encode(part).decode()}?=" for part in (octets[:cut], octets[cut:])]
    assert encoded_words.decode(between.join(words).encode()) == text.removeprefix("\ufeff")


@pytest.mark.parametrize(
    "filler", [b"=?", b"=?utf-8?q?", b"=?utf-8?q?x?=", b"=?utf-8?b?QQ==?= ", b"?=", b"=?=", b"=?a"]
)
def test_a_field_of_a_megabyte_is_decoded_quickly(filler):
    encoded_words.decode(filler * (1_000_000 // len(filler)))


def test_the_pattern_has_no_possessive_group_because_of_a_bug_in_python_before_3_11_5():
    assert b"*+" not in encoded_words._WORD.pattern
