"""Text from outside in a form that PostgreSQL can hold."""


def storable_text(text: str) -> str:
    """The text, with a replacement for what TEXT and JSONB refuse: the character NUL, and half a surrogate pair."""
    return text.encode(errors="replace").decode().replace("\x00", "\ufffd")
