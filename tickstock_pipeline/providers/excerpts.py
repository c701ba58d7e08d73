"""What a provider has said, as a message of ours may show it."""


def excerpt(text: str, longest: int = 150) -> str:
    """The beginning of a text from outside: one line, and only characters that can be seen.

    Parameters
    ----------
    text : without secrets
    longest : characters
    """
    return "".join(character for character in " ".join(text.split()) if character.isprintable())[:longest]
