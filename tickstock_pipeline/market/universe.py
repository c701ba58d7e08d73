"""What a universe is: a named list of symbols, and how its name may be written.

Here is what is true of every universe, wherever its members are written down: its key, its members, unions. How a file
of members is read is in :mod:`tickstock_pipeline.market.universe_csv`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tickstock_pipeline.errors import UniverseError

UNION_SEPARATOR = ":"

# by folded key; each stands for the index that the fund follows, where a universe of that name is known
FUND_UNIVERSES = {
    "spy": "sp_500",
    "voo": "sp_500",
    "ivv": "sp_500",
    "qqq": "nasdaq_100",
    "qqqm": "nasdaq_100",
    "dia": "dow_30",
    "iwm": "russell_2000",
    "mdy": "sp_400",
}

_MAX_KEY_LENGTH = 64
_MAX_SHOWN_LENGTH = 60


@dataclass(frozen=True, slots=True)
class Member:
    """A symbol of a universe; what is not known of it is empty."""

    symbol: str
    name: str = ""
    sector: str = ""
    industry: str = ""


@dataclass(frozen=True, slots=True)
class LineProblem:
    """A line of a universe file that is not used.

    Attributes
    ----------
    line : where it begins, counted from 1
    text : what stands where the symbol should be, printable and clipped
    reason : why it is not used
    file : name of the file
    """

    line: int
    text: str
    reason: str
    file: str = ""

    def __str__(self) -> str:
        return f"{self.file + ', ' if self.file else ''}line {self.line}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Universe:
    """A named list of symbols.

    Attributes
    ----------
    key : as :func:`universe_key` makes it; of a union the keys of its parts, joined by a colon
    members : in the order of the file, none twice
    problems : lines of the file that are not used
    source : name of the file
    parts : of a union the universes that it joins
    is_stored : whether it comes from the tables
    """

    key: str
    members: tuple[Member, ...]
    problems: tuple[LineProblem, ...] = ()
    source: str = ""
    parts: tuple["Universe", ...] = ()
    is_stored: bool = False

    @property
    def symbols(self) -> tuple[str, ...]:
        """The members' symbols, in their order."""
        return tuple(member.symbol for member in self.members)


def universe_key(text: str) -> str:
    """The key as it is stored: lower case, words joined by ``_``.

    Parameters
    ----------
    text : a key as people and programs write it, or a file's name without its ending

    Raises
    ------
    UniverseError
        If nothing is left of it, it is longer than 64 characters or has others than ASCII.
    """
    key = "_".join(re.findall(r"[a-z0-9]+", text.lower())) if text.isascii() and len(text) <= _MAX_KEY_LENGTH else ""
    if not key:
        raise UniverseError(
            f"{shown(text)} is not the key of a universe.",
            advice=f"A key has letters, digits and '_', {_MAX_KEY_LENGTH} at most, such as sp_500; "
            f"{UNION_SEPARATOR!r} joins several.",
        )
    return key


def folded(key: str) -> str:
    """What two spellings of one key have in common: ``SP500``, ``sp_500`` and ``S&P 500`` are the same universe."""
    return "".join(re.findall(r"[a-z0-9]+", key.lower()))


def split_union(text: str) -> list[str]:
    """The keys that a union joins, each once, in their order; of any other key itself alone.

    Raises
    ------
    UniverseError
        If one of them is blank.
    """
    parts = [part.strip() for part in text.split(UNION_SEPARATOR)]
    if not all(parts):
        raise UniverseError(
            f"{shown(text)} names no universe before, after or between the colons.",
            advice="Join keys by single colons, such as SPY:QQQ.",
        )
    return list(dict.fromkeys(parts))


def union(universes: Sequence[Universe]) -> Universe:
    """All members of several universes: in their order, none twice; the first that names a symbol describes it."""
    parts = tuple({folded(universe.key): universe for universe in reversed(universes)}.values())[::-1]
    if len(parts) == 1:
        return parts[0]
    members: dict[str, Member] = {}
    for part in parts:
        for member in part.members:
            members.setdefault(member.symbol, member)
    return Universe(
        key=UNION_SEPARATOR.join(part.key for part in parts),
        members=tuple(members.values()),
        problems=tuple(problem for part in parts for problem in part.problems),
        parts=parts,
    )


def shown(text: str) -> str:
    """Text of a stranger's as a message may quote it: clipped, control characters escaped."""
    return repr(text if len(text) <= _MAX_SHOWN_LENGTH else f"{text[:_MAX_SHOWN_LENGTH]}…")
