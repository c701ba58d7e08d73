"""Reading a universe file: CSV with a header line, from bytes to members.

1. The bytes are UTF-8, with or without a byte order mark; lines end in LF, CRLF or CR.
2. The first record names the columns, in any case and order. ``symbol`` (or ``ticker``) must be among them; of the
   others name, sector and industry are read. Fields are separated by what makes the header readable: a comma, else a
   semicolon, a tab or a bar.
3. Blank records, and lines that begin with ``#``, are skipped. Every other record gives a member or a problem.
4. A record may go on over several lines within quotes. Where that makes no sense, the quote was never closed: that
   line alone is a problem, and reading goes on with the next one.
"""

import csv
import io
import re
from collections.abc import Iterator, Sequence

from tickstock_pipeline.errors import UniverseError
from tickstock_pipeline.market.symbol import normalise_symbol
from tickstock_pipeline.market.universe import LineProblem, Member, Universe, shown

MAX_BYTES = 4 * 1024 * 1024
"""Some three times a list of every symbol traded in the United States, with names."""

_HEADER = "symbol,name,sector,industry"
_COLUMNS = {
    "symbol": ("symbol", "ticker", "ticker_symbol"),
    "name": ("name", "company", "company_name", "security"),
    "sector": ("sector", "sector_name", "gics_sector"),
    "industry": ("industry", "industry_name", "gics_sub_industry"),
}
_DELIMITERS = (",", ";", "\t", "|")
_MAX_RECORD_LINES = 10
_MAX_LABEL_LENGTH = 200
_MAX_PROBLEMS = 10_000
_MAX_SHOWN_LENGTH = 40


def parse_universe(data: bytes, *, key: str, file: str) -> Universe:
    """The members that a universe file lists, and the lines of it that cannot be used.

    Parameters
    ----------
    data : the file's content
    key : of the universe, as :func:`~tickstock_pipeline.market.universe.universe_key` makes it
    file : its name, for messages

    Returns
    -------
    The universe; without a single member if every line is a problem.

    Raises
    ------
    UniverseError
        If the file as a whole cannot be used: too large, not UTF-8, empty, no column ``symbol``, hardly a list.
    """
    lines = io.StringIO(_decoded(data, file), newline="").readlines()
    delimiter, places = _header(lines, file)
    records = _records(lines, delimiter)
    next(records)
    members: dict[str, Member] = {}
    line_of: dict[str, int] = {}
    problems: list[LineProblem] = []
    for line, fields in records:
        text = ""
        try:
            if fields is None:
                text = lines[line - 1].strip()
                raise ValueError("a quote is opened and not closed")
            cells = {name: fields[place].strip() for name, place in places.items() if place < len(fields)}
            text = cells.get("symbol", "")
            member = _member(text, cells)
            if member.symbol in line_of:
                raise ValueError(f"{member.symbol} is on line {line_of[member.symbol]} already")
        except ValueError as error:
            problems.append(LineProblem(line, _printable(_clipped(text)), str(error), file))
            if len(problems) > _MAX_PROBLEMS:
                raise UniverseError(
                    f"{file}: more than {_MAX_PROBLEMS:,} lines cannot be used; the first is {problems[0]}.",
                    advice="Is it a list of symbols?",
                ) from None
        else:
            line_of[member.symbol] = line
            members[member.symbol] = member
    if not members and not problems:
        raise UniverseError(
            f"{file} has a header and not one symbol.", advice=f"Write a symbol on each line below {_HEADER}."
        )
    return Universe(key, tuple(members.values()), tuple(problems), source=file)


def _decoded(data: bytes, file: str) -> str:
    if len(data) > MAX_BYTES:
        raise UniverseError(
            f"{file} is larger than {MAX_BYTES // 1024**2} MiB.", advice="Leave out what is not a symbol of it."
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UniverseError(
            f"{file} is not UTF-8: line {line} has the byte 0x{data[error.start]:02x}.",
            advice="Save it as “CSV UTF-8”.",
        ) from None
    if not text.strip():
        raise UniverseError(f"{file} is empty.", advice=f"Its first line names the columns: {_HEADER}")
    return text


def _header(lines: Sequence[str], file: str) -> tuple[str, dict[str, int]]:
    """The delimiter, and where each known column is."""
    headers = [(delimiter, next(_records(lines, delimiter), (0, None))[1] or []) for delimiter in _DELIMITERS]
    for delimiter, fields in headers:
        names = ["_".join(re.findall(r"[a-z0-9]+", field.lower())) for field in fields]
        places = {
            column: names.index(next(alias for alias in aliases if alias in names))
            for column, aliases in _COLUMNS.items()
            if not set(aliases).isdisjoint(names)
        }
        if "symbol" in places:
            return delimiter, places
    found = ", ".join(shown(field.strip()) for field in headers[0][1][:10])
    raise UniverseError(
        f"{file} has no column symbol; its first line has {found or 'no names of columns'}.",
        advice=f"Let the first line name the columns: {_HEADER}",
    )


def _records(lines: Sequence[str], delimiter: str) -> Iterator[tuple[int, list[str] | None]]:
    """Each record that is neither blank nor a comment, with its line's number; None where a quote is never closed."""
    index = 0
    while index < len(lines):
        line = lines[index]
        if not line.strip() or line.lstrip().startswith("#"):
            index += 1
            continue
        fields, n_lines = _record(lines[index : index + _MAX_RECORD_LINES], delimiter)
        if fields is None or any(field.strip() for field in fields):
            yield index + 1, fields
        index += n_lines


def _record(lines: Sequence[str], delimiter: str) -> tuple[list[str] | None, int]:
    """The fields of the record that begins here, and how many lines it takes."""
    try:
        # not strict: blanks after a closing quote are harmless in a line that ends where its record does
        fields, n_lines, is_closed = _parsed(lines[:1], delimiter, strict=False)
        if not is_closed:
            # strict: a quote that is closed amid the text of a later line was not opened to hold that text
            fields, n_lines, is_closed = _parsed(lines, delimiter, strict=True)
    except csv.Error:
        return None, 1
    return (fields, n_lines) if is_closed else (None, 1)


def _parsed(lines: Sequence[str], delimiter: str, *, strict: bool) -> tuple[list[str], int, bool]:
    n_taken = 0
    is_closed = True

    def feed() -> Iterator[str]:
        nonlocal n_taken, is_closed
        for line in lines:
            n_taken += 1
            yield line
        # only a record that goes on asks for more
        is_closed = False

    fields = next(csv.reader(feed(), delimiter=delimiter, skipinitialspace=True, strict=strict))
    return fields, n_taken, is_closed


def _member(symbol: str, cells: dict[str, str]) -> Member:
    if not symbol:
        raise ValueError("the symbol is missing")
    labels = {name: _label(name, text) for name, text in cells.items() if name != "symbol"}
    return Member(normalise_symbol(_clipped(symbol)), **labels)


def _label(name: str, text: str) -> str:
    """A name for people: one line, without what cannot be seen."""
    label = "".join(character for character in " ".join(text.split()) if character.isprintable()).strip()
    if len(label) > _MAX_LABEL_LENGTH:
        raise ValueError(f"the {name} is longer than {_MAX_LABEL_LENGTH} characters")
    return label


def _clipped(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN_LENGTH else f"{text[:_MAX_SHOWN_LENGTH]}…"


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
