"""The paths to which a form may send a browser. No form redirects to another site."""

import re

_OWN = re.compile(r"/(?!/)[\w./%@+=&?~!,;:*'()-]*", re.ASCII)


def own_path(text: str) -> str:
    """Return a path in the console, such as `/keys?q=x`, if the text from a request is one; otherwise `/`.

    The path begins after `/console`. It cannot name another host, because `/console` is put before it, and it cannot
    contain a backslash or a line end.
    """
    return text if _OWN.fullmatch(text) else "/"
