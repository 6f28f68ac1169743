"""Makes text from senders and peers harmless for a terminal."""


def plain(text: object) -> str:
    """Return untrusted text with U+FFFD in place of each character that could harm a terminal."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in str(text))
