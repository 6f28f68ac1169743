"""HTML becomes safe, remote files are counted and removed, and links show where they lead."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.hostile_mail import HTML
from waypost.mime import html_text, links, nesting, safe_html, style
from waypost.mime.safe_html import sanitised


def clean(html, *, remote=False, parts=()):
    return sanitised(html, parts_by_cid=dict(parts), allow_remote=remote)


@pytest.mark.parametrize(
    ("html", "safe"),
    [
        ("<p>a<b>b</b>", "<p>a<b>b</b></p>"),
        ("a<script>x</script>b", "ab"),
        ("a<custom>b</custom>", "ab"),
        ("<p onclick=x class=y id=z>a</p>", "<p>a</p>"),
        ("<td align=left>", ""),
        ("<table><td align=left colspan=2 nowrap bgcolor='#fff'>", None),
        ("<img width=100% height=1e9>", '<img width="100%">'),
        ("<p dir=rtl lang=ar>", '<p dir="rtl" lang="ar"></p>'),
        ("<p dir=x lang='\"'>", "<p></p>"),
        ("<ol type=a start=3><li value=x>", '<ol type="a" start="3"><li></li></ol>'),
        ("<font face='Arial, x' size=+2 color=red>a</font>", '<font face="Arial, x" size="+2" color="red">a</font>'),
        ("a\u202eb&#x202e;c\0d", "abcd"),
    ],
)
def test_elements_and_attributes_are_on_lists(html, safe):
    if safe is not None:
        assert clean(html).html == safe
    else:
        for attribute in ('align="left"', 'colspan="2"', 'nowrap=""', 'bgcolor="#fff"'):
            assert attribute in clean(html).html


@pytest.mark.parametrize(
    ("html", "count", "without", "with_remote"),
    [
        ("<img src=https://a.example/x>", 1, "<img>", '<img src="https://a.example/x">'),
        ("<img src=//a.example/x>", 1, "<img>", '<img src="https://a.example/x">'),
        ("<img src='https:a.example'>", 1, "<img>", '<img src="https://a.example">'),
        ("<img src=x>", 0, "<img>", "<img>"),
        ("<img srcset='https://a.example/x 2x'>", 1, "<img>", "<img>"),
        ("<img srcset='x 2x'>", 0, "<img>", "<img>"),
        ("<hr src=https://a.example/x>", 1, "<hr>", "<hr>"),
        ("<p background=https://a.example/>", 1, "<p></p>", '<p background="https://a.example/"></p>'),
        ("<p style='color:red;background:url(https://a.example/)'>", 1, *['<p style="color: red"></p>'] * 2),
        ("<img src=data:image/png;base64,x>", 0, *['<img src="data:image/png;base64,x">'] * 2),
        ("<img src=data:image/svg+xml,x>", 0, "<img>", "<img>"),
        ("<img src=cid:a%40b>", 0, *['<img src="/parts/2">'] * 2),
        ("<img src='CID:<a@b>'>", 0, *['<img src="/parts/2">'] * 2),
        ("<img src=cid:x>", 0, "<img>", "<img>"),
    ],
)
def test_remote_files_are_counted_and_removed(html, count, without, with_remote):
    parts = {"a@b": "/parts/2"}.items()
    assert (clean(html, parts=parts).html, clean(html, parts=parts).remote) == (without, count)
    allowed = clean(html, parts=parts, remote=True)
    assert (allowed.html, allowed.remote) == (with_remote, count)


@pytest.mark.parametrize(
    ("css", "safe"),
    [
        ("color: red", "color: red"),
        ("COLOR:RED;;x", "color: RED"),
        ("color: rgb(1, 2, 3) !important", "color: rgb(1, 2, 3) !important"),
        ("background: rgba(0,0,0,.5) none", "background: rgba(0,0,0,.5) none"),
        ("font-family: 'Segoe UI', \"Arial\"", "font-family: Segoe UI, Arial"),
        ("font: 12px/1.5 x", "font: 12px/1.5 x"),
        ("margin: -1px", ""),
        ("margin: 0 auto; position: fixed", "margin: 0 auto"),
        ("width: calc(1px)", ""),
        ("width: expression(x)", ""),
        ("background: u\\72l(x)", ""),
        ("color: re/**/d", ""),
        ("color: red;background: url(data:image/png;base64,x)", "color: red"),
        ("color", ""),
        ("color:", ""),
        ("--x: red", ""),
    ],
)
def test_css_is_filtered(css, safe):
    assert style.filtered(css) == safe


@pytest.mark.parametrize(
    ("address", "href"),
    [
        ("https://a.example/x?y=\\z#q", "https://a.example/x?y=\\z#q"),
        (" HTTPS:\\\\a.example\\b ", "https://a.example/b"),
        ("ht\ntps:a.example", "https://a.example"),
        ("mailto:a@b.example", "mailto:a@b.example"),
        ("tel:+123", "tel:+123"),
        ("javascript:x", None),
        ("java\tscript:x", None),
        ("data:text/html,x", None),
        ("cid:x", None),
        ("/x", None),
        ("//a.example", None),
        ("", None),
        ("https://a.example/" + "x" * 8_000, None),
    ],
)
def test_links_lead_only_to_known_schemes(address, href):
    assert links.href(address) == href


@pytest.mark.parametrize(
    ("address", "text", "target", "is_misleading"),
    [
        ("https://a.example/", "read more", "https://a.example/", False),
        ("https://a.example/", "a.example", "https://a.example/", False),
        ("https://www.a.example:443/", "https://a.example/x", "https://www.a.example:443/", False),
        ("https://mail.a.example/", "www.a.example", "https://mail.a.example/", False),
        ("https://evil.example/", "https://a.example", "https://evil.example/", True),
        ("https://a.example@evil.example/", "a.example", "https://a.example@evil.example/", True),
        ("https://nota.example/", "a.example", "https://nota.example/", True),
        ("https://a.example.evil.example/", "a.example", "https://a.example.evil.example/", True),
        ("mailto:x@a.example?subject=y", "x@a.example", "mailto:x@a.example?subject=y", False),
        ("mailto:x@evil.example", "x@a.example", "mailto:x@evil.example", True),
        ("tel:1", "a.example", "tel:1", True),
        ("https://bücher.example/", "bücher.example", "https://bücher.example/ (xn--bcher-kva.example)", False),
        ("https://b\u0430nk.example/", "bank.example", "https://b\u0430nk.example/ (xn--bnk-6cd.example)", True),
        ("https://\u2100../", "x", "https://\u2100../ (the host name is malformed)", True),
        ("https://a.example/", "a\u202e.example", "https://a.example/", True),
        ("https://a.example/", "\u2100..example", "https://a.example/", False),
    ],
)
def test_links_say_where_they_lead(address, text, target, is_misleading):
    link = links.described(address, text)
    assert (link.target, link.is_misleading) == (target, is_misleading)


def test_a_misleading_link_shows_its_target_after_the_text():
    safe = clean("<a href='https://evil.example/?a&b' title=x style='color:red'><b>bank</b>.example</a>!")
    assert safe.html == (
        '<a href="https://evil.example/?a&amp;b" rel="noopener noreferrer nofollow" target="_blank" '
        'title="https://evil.example/?a&amp;b" style="color: red"><b>bank</b>.example</a>'
        "<small> [leads to https://evil.example/?a&amp;b]</small>!"
    )
    assert [link.text for link in safe.links] == ["bank.example"]


@pytest.mark.parametrize("inner", ["<a href='https://bank.example/'></a>", "<a></a>", ""])
def test_a_misleading_link_is_found_if_it_contains_another_link(inner):
    safe = clean(f"<a href='https://evil.example/'><table><td>{inner}www.bank.example</td></table></a>")
    assert ("www.bank.example", True) in [(link.text, link.is_misleading) for link in safe.links]
    assert safe.html.endswith("</a><small> [leads to https://evil.example/]</small>")


def test_a_link_without_a_target_is_only_text():
    safe = clean("<a name=x>y</a> <a href=javascript:x>z</a>")
    assert (safe.html, safe.links) == ("<a>y</a> <a>z</a>", ())


@pytest.mark.parametrize(
    ("html", "is_cut"),
    [
        ("<div>" * 256, False),
        ("<div>" * 257, True),
        ("<p>" * 1_000, False),
        ("<div></div>" * 5_000, False),
        ("<p>" * 20_001, True),
        ("<b>" * 65, True),
        ("<b></b>" * 1_000, False),
        ("<div><b></div>" * 65, True),
        ("<b><div></b></div>" * 60, False),
        ("<table>" + "<tr><td>x<td><b>y" * 1_000, False),
        ("<td>" * 257, False),
        ("<table><th>" * 129, True),
        ("<div><table></div>" * 200, True),
        ("<span><div></span>" * 200, True),
        ("</div>" * 1_000, False),
        ("<p " + "a " * 256 + ">", False),
        ("<p " + "a=1 " * 257 + ">", True),
        ("&a" * 20, False),
        ("&a" * 21, True),
    ],
)
def test_deep_html_is_cut(html, is_cut, monkeypatch):
    monkeypatch.setattr(nesting, "REFERENCES", 20)  # the hostile messages reach the real limit
    cut, was_cut = nesting.cut(html)
    assert was_cut is is_cut
    assert html.startswith(cut)
    assert (clean(html).problems != ()) is is_cut


@given(st.text() | st.lists(st.sampled_from([*HTML.values()]) | st.text(max_size=9), max_size=4).map("".join))
def test_safe_html_stays_the_same_when_it_is_cleaned_again(html):
    if len(html) < 20_000:
        once = clean(html)
        assert [each.target for each in clean(once.html).links] == [each.target for each in once.links]


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>a</p><p>b</p>", "a\n\nb"),
        ("a<br>b", "a\nb"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</table>", "a\tb\nc"),
        ("<ul><li>a<li>b</ul>", "- a\n- b"),
        ("<title>x</title><style>y</style>a<script>z</script>b", "ab"),
        ("<head><title>x</title></head><body>a</body>", "a"),
        ("a<!-- b -->c<!-- d", "ac"),
        ("<!doctype html><?xml?>a", "a"),
        ("1 < 2 &amp; 3 &lt; 4", "1 < 2 & 3 < 4"),
        ("a<script>b", "a"),
        ("a<p", "a"),
        ("  a \n\n b  ", "a b"),
        ("İ<STYLE>x</STYLE>y", "İy"),
    ],
)
def test_text_is_derived_from_html(html, text):
    assert html_text.text_of(html) == text


def test_the_lists_of_elements_have_nothing_in_common():
    assert not safe_html._TAGS & safe_html._WITH_CONTENT


def test_a_link_that_says_where_it_leads_has_no_warning():
    safe = clean("<a href=https://a.example/>https://a.example/x</a>")
    assert "leads to" not in safe.html
    assert not safe.links[0].is_misleading


@pytest.mark.parametrize("name", ["tags inside of a tag", "20,000 attributes of one element in as many tags"])
def test_html_that_takes_long_to_parse_is_cut_quickly(name):
    start = time.process_time()
    assert "too long" in clean(HTML[name]).problems[0]
    assert time.process_time() - start < 10
