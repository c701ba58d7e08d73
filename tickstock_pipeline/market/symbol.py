"""What a symbol may look like.

A symbol is half of a partition key (``AAPL|2013``), part of a Redis channel's payload and a column everywhere, so its
characters are decided once, where it enters.
"""

import re

_MAX_LENGTH = 20
_SHAPE = re.compile(rf"(?=.{{1,{_MAX_LENGTH}}}\Z)\^?[A-Z0-9][A-Z0-9./^=-]*")

# Dagster writes a range of partitions as `first...last`
_FORBIDDEN = "..."


def normalise_symbol(text: str) -> str:
    """A symbol in upper case without the blanks around it.

    Parameters
    ----------
    text : as typed, or as a provider spells it

    Returns
    -------
    1 to 20 of the characters A-Z, 0-9, ``.``, ``-``, ``/``, ``^`` and ``=``, beginning with a letter or digit, or
    with ``^`` and one of those (an index); never with ``...`` in it.

    Raises
    ------
    ValueError
        If it cannot be a symbol, with the text and the rule.
    """
    # before upper(), which turns some letters of other alphabets into ASCII
    symbol = text.strip().upper() if text.isascii() else ""
    if not _SHAPE.fullmatch(symbol) or _FORBIDDEN in symbol:
        raise ValueError(
            f"{text!r} is not a symbol: 1 to {_MAX_LENGTH} of A-Z, 0-9, '.', '-', '/', '^', '=', "
            f"beginning with a letter, a digit or '^', and without {_FORBIDDEN!r}"
        )
    return symbol
