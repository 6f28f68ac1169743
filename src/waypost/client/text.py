"""Makes text from senders and peers harmless for a terminal."""


def plain(text: object, *, keep: str = "") -> str:
    """Return untrusted text with U+FFFD in place of each character that could harm a terminal, except those in
    `keep`.
    """
    return "".join(
        character if character.isprintable() or character in keep else "\N{REPLACEMENT CHARACTER}"
        for character in str(text)
    )
