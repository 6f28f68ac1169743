"""The meaning of charset labels, and the text that bytes are decoded to."""

import pytest
import webencodings
from hypothesis import given
from hypothesis import strategies as st
from webencodings.labels import LABELS

from waypost.domain.mail import charsets

UNREADABLE = {"replacement", "x-user-defined"}
KNOWN_TO_MAIL = {"csiso2022kr", "hz-gb-2312", "iso-2022-kr"}


@pytest.mark.parametrize(
    ("label", "text", "codec"),
    [
        ("gb2312", "镕化", "gbk"),
        ("GB_2312-80", "镕", "gbk"),
        ("gbk", "㐀", "gb18030"),
        ("Shift_JIS", "①㈱髙橋", "cp932"),
        ("x-sjis", "①㈱髙橋", "cp932"),
        ("ks_c_5601-1987", "똠방각하", "cp949"),
        ("EUC-KR", "똠방각하", "cp949"),
        ("big5", "鰂魚涌", "big5hkscs"),
        ("iso-8859-1", "Don’t €16", "cp1252"),
        ("us-ascii", "Grüße", "cp1252"),
        ("latin-1", "Grüße", "cp1252"),
        ("iso-8859-9", "ığ€", "cp1254"),
        ("tis-620", "สวัสดี…", "cp874"),
        ("iso-8859-8-i", "שלום", "iso8859-8"),
        ("utf-8", "Grüße", "utf-8"),
        ("UTF8", "Grüße", "utf-8"),
        ("utf-8", "Grüße", "utf-8-sig"),
        ("utf-16", "Grüße", "utf-16-le"),
        ("utf-7", "Grüße", "utf-7"),
        ("iso-2022-kr", "안녕", "iso2022_kr"),
        ("hz-gb-2312", "你好", "hz"),
        ("cp850", "Grüße", "cp850"),
        ("iso-2022-jp-2", "日本 中国", "iso2022_jp_2"),
        ("cp50221", "日本", "iso2022_jp"),
    ],
)
def test_a_label_selects_the_charset_that_senders_mean(label, text, codec):
    assert charsets.decoder(label)(text.encode(codec)) == text


@pytest.mark.parametrize("label", ["", "x-unknown", "idna", "punycode", "unicode_escape", "hex", "rot13", "undefined"])
def test_a_label_cannot_select_another_codec_of_python(label):
    assert charsets.decoder(label) is None


@pytest.mark.parametrize("label", LABELS)
def test_every_label_of_the_encoding_standard_is_known(label):
    is_readable = webencodings.lookup(label).name not in UNREADABLE or label in KNOWN_TO_MAIL
    assert (charsets.decoder(label) is not None) is is_readable


def test_labels_of_one_charset_have_one_decoder():
    assert charsets.decoder("UTF-8") is charsets.decoder("utf8")
    assert charsets.decoder("shift_jis") is charsets.decoder("cp932")
    assert charsets.decoder("gb2312") is not charsets.decoder("big5")


# Characters that Python's codecs for Japanese lack.


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"\x1b$B-!-j\x1b(B", "①㈱"),
        (b"\x1b$B|b\x1b(B", "髙"),
        (b"\x1b$@F|K\\\x1b(J \\~ \x1b(B\\~", "日本 ¥‾ \\~"),
        (b"a\x1b(I123\x1b(Bb", "aｱｲｳb"),
        (b"\x1b$(D0!\x1b$BF|", "丂日"),
        (b"\x1b$BF|K", "日\ufffd"),
        (b"\x1b$B F\x7fFF\x7f\x1b(B", "\ufffd\ufffd\ufffd"),
        (b"\x1b$B)!\x1b(Bx", "\ufffdx"),
        (b"\x1b(I\x60\x20\x1b(B", "\ufffd\ufffd"),
        (b"\x1b$(D!!0!\x1b(B", "\ufffd丂"),
        (b"\x1b$(D \x7f0\x1b(B", "\ufffd\ufffd"),
        (b"\x1b[2J\xff", "\x1b[2J\ufffd"),
        (b"", ""),
    ],
)
def test_iso_2022_jp_includes_the_extensions_that_senders_use(octets, text):
    assert charsets.decoder("ISO-2022-JP")(octets) == text


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"\xad\xa1\xad\xea\xfc\xe2 a", "①㈱髙 a"),
        (b"\x8e\xb1\x8f\xb0\xa1\xc6\xfc", "ｱ丂日"),
        (b"\xc6\xfc\xc6", "日\ufffd"),
        (b"\x8ea\x8f\xb0\n", "\ufffda\ufffd\ufffd\n"),
    ],
)
def test_euc_jp_includes_the_extensions_that_senders_use(octets, text):
    assert charsets.decoder("euc-jp")(octets) == text


def test_iso_2022_jp_has_all_characters_of_python_s_codec_and_the_nec_rows():
    """Six characters have different code points in the Encoding Standard and in Python's codec, but look the same."""
    by_python, by_waypost = {}, {}
    for pair in (bytes((first, second)) for first in range(0x21, 0x7F) for second in range(0x21, 0x7F)):
        octets = b"\x1b$B" + pair + b"\x1b(B"
        by_python[pair] = octets.decode("iso2022_jp", "replace")
        by_waypost[pair] = charsets.decoder("iso-2022-jp")(octets)
    gained = [pair for pair in by_waypost if "\ufffd" in by_python[pair] and "\ufffd" not in by_waypost[pair]]
    others = {by_python[pair] + by_waypost[pair] for pair in by_waypost if "\ufffd" not in by_python[pair]}
    assert len(gained) == 457
    assert {pair for pair in others if pair[0] != pair[1]} == {"〜～", "‖∥", "−－", "¢￠", "£￡", "¬￢"}


@given(st.sampled_from(sorted(LABELS)), st.binary(max_size=300))
def test_arbitrary_bytes_can_be_decoded_in_any_charset(label, octets):
    decoder = charsets.decoder(label)
    if decoder:
        assert len(decoder(octets)) <= 2 * len(octets)
