"""PostgreSQL's binary COPY format, written and read through numpy: no value passes through text or Python objects.

Rows of one series have the same width, so a whole series is one structured array: each field is preceded by its
length in bytes, integers and floats are big-endian, instants count microseconds and dates count days from 2000-01-01.

References
----------
https://www.postgresql.org/docs/current/sql-copy.html, section Binary Format
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from tickstock_pipeline.storage.engine import driver_cursor

_HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_TRAILER = b"\xff\xff"
_EPOCH = np.datetime64("2000-01-01", "us")
_EPOCH_DAY = np.datetime64("2000-01-01", "D")
_READ_SIZE = 1 << 20
_FLOAT8_OID = 701

FLOAT8 = ">f8"
INT8 = ">i8"
INT4 = ">i4"
INT2 = ">i2"

FieldType = str | np.dtype[np.void]


def instants(time: NDArray[np.datetime64]) -> NDArray[np.int64]:
    """``datetime64[us]`` UTC as TIMESTAMPTZ counts it."""
    return (time.astype("datetime64[us]") - _EPOCH).astype(np.int64)


def days(time: NDArray[np.datetime64]) -> NDArray[np.int64]:
    """``datetime64`` as DATE counts it."""
    return (time.astype("datetime64[D]") - _EPOCH_DAY).astype(np.int64)


def from_instants(counts: NDArray[Any]) -> NDArray[np.datetime64]:
    """TIMESTAMPTZ counts as ``datetime64[us]`` UTC."""
    return np.asarray(_EPOCH + counts.astype("timedelta64[us]"))


def from_days(counts: NDArray[Any]) -> NDArray[np.datetime64]:
    """DATE counts as ``datetime64[us]``, midnight."""
    return np.asarray((_EPOCH_DAY + counts.astype("timedelta64[D]")).astype("datetime64[us]"))


def encode_rows(fields: Mapping[str, tuple[FieldType, NDArray[Any] | bytes | int]], n_rows: int) -> bytes:
    """Rows of equal width, without the file's header and trailer.

    Parameters
    ----------
    fields : column -> (type, values), in the order of the COPY statement's columns. A type is a constant of this
        module, or comes with its values from :func:`encode_text` or :func:`encode_arrays`. A text or an int is
        repeated in every row.
    n_rows : the length of every array
    """
    rows = np.empty(n_rows, _row_type({name: kind for name, (kind, _) in fields.items()}))
    rows["n_fields"] = len(fields)
    for name, (kind, values) in fields.items():
        rows[f"length of {name}"] = np.dtype(kind).itemsize
        rows[name] = values
    return rows.tobytes()


def encode_text(text: str) -> tuple[FieldType, bytes]:
    """A text as a field of :func:`encode_rows`."""
    encoded = text.encode()
    return f"S{len(encoded)}", encoded


def encode_arrays(values: NDArray[np.float64]) -> tuple[FieldType, NDArray[Any]]:
    """A FLOAT8[] a row as a field of :func:`encode_rows`.

    Parameters
    ----------
    values : (n_rows, n_elements); NaN is NULL, and stands in the same columns of every row
    """
    missing = np.isnan(values[0])
    elements: list[tuple[str, str]] = []
    for column, is_missing in enumerate(missing):
        elements += [(f"length {column}", INT4)] + ([] if is_missing else [(f"element {column}", FLOAT8)])
    header = [(name, INT4) for name in ("dimensions", "has_null", "type", "size", "lower_bound")]
    rows = np.empty(len(values), np.dtype(header + elements))
    rows["dimensions"], rows["has_null"], rows["type"] = 1, missing.any(), _FLOAT8_OID
    rows["size"], rows["lower_bound"] = values.shape[1], 1
    for column, is_missing in enumerate(missing):
        rows[f"length {column}"] = -1 if is_missing else 8
        if not is_missing:
            rows[f"element {column}"] = values[:, column]
    return rows.dtype, rows


def copy_in(connection: sa.Connection, table: str, columns: Sequence[str], rows: Iterable[bytes]) -> int:
    """COPY encoded rows into a table.

    Parameters
    ----------
    table, columns : trusted names, quoted where they must be

    Returns
    -------
    How many rows.
    """
    statement = f"COPY {table} ({', '.join(columns)}) FROM STDIN (FORMAT binary)"
    with driver_cursor(connection) as cursor:
        cursor.copy_expert(statement, _Chunks(chain([_HEADER], rows, [_TRAILER])), _READ_SIZE)
        return cursor.rowcount


def copy_out(
    connection: sa.Connection, query: str, parameters: Sequence[Any], fields: Mapping[str, str]
) -> NDArray[np.void]:
    """The rows of a query, read by COPY.

    Parameters
    ----------
    query : in psycopg2's parameter style
    fields : column -> type constant of this module, in the query's order; no column may be NULL

    Returns
    -------
    (n_rows,) structured array with the fields asked for, still big-endian
    """
    buffer = io.BytesIO()
    with driver_cursor(connection) as cursor:
        text = cursor.mogrify(query, parameters).decode()
        cursor.copy_expert(f"COPY ({text}) TO STDOUT (FORMAT binary)", buffer, _READ_SIZE)
    body = buffer.getbuffer()[len(_HEADER) : -len(_TRAILER)]
    return np.frombuffer(body, _row_type(fields))


def _row_type(fields: Mapping[str, FieldType]) -> np.dtype[np.void]:
    columns: list[tuple[str, FieldType]] = [("n_fields", INT2)]
    for name, kind in fields.items():
        columns += [(f"length of {name}", INT4), (name, kind)]
    return np.dtype(columns)


class _Chunks(io.RawIOBase):
    """Encoded rows as a file that COPY reads from, without joining them into one more copy."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        super().__init__()
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        parts = []
        missing = size if size >= 0 else 1 << 62
        while missing > 0:
            if not self._rest:
                chunk = next(self._chunks, None)
                if chunk is None:
                    break
                self._rest = memoryview(chunk)
            part = self._rest[:missing]
            self._rest = self._rest[len(part) :]
            missing -= len(part)
            parts.append(part)
        return b"".join(parts)
