"""The SQLAlchemy engine, and what its connection errors mean to a person.

Every connection to PostgreSQL that this package opens for itself comes from :func:`create_engine`, so there is one
place that turns a driver's error into one with advice and without a password.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import psycopg2
import sqlalchemy as sa
from psycopg2.extensions import cursor as DriverCursor  # noqa: N812 - a class, whatever its name
from sqlalchemy import event
from sqlalchemy.engine import URL, ExceptionContext, make_url

from tickstock_pipeline.errors import DatabaseLoginError, DatabaseUnreachableError, StorageError

_CONNECT_TIMEOUT_S = 5
_DEFAULT_PORT = 5432
# A server answers with FATAL also while it starts, stops or is full: the login is not what is wrong then.
_NOT_NOW = (
    "starting up",
    "shutting down",
    "recovery mode",
    "not yet accepting",
    "too many",
    "remaining connection",
    "terminating connection",
)


def create_engine(dsn: str, *, application_name: str = "tickstock", **options: Any) -> sa.Engine:
    """An engine over psycopg2; opens no connection yet.

    Parameters
    ----------
    dsn : ``postgresql://user:password@host:port/database``, with or without a driver name
    application_name : shown in pg_stat_activity, unless the DSN sets one
    options : passed on to :func:`sqlalchemy.create_engine`

    Returns
    -------
    An engine whose connections run in READ COMMITTED, which the ledger's triggers rely on, and whose instants come in
    UTC, whatever the time zone of the server. Using it raises :class:`DatabaseUnreachableError` or
    :class:`DatabaseLoginError` where a connection cannot be opened or is lost.

    Raises
    ------
    DatabaseUnreachableError
        If the DSN is malformed.
    """
    try:
        url = make_url(dsn).set(drivername="postgresql+psycopg2")
    except (sa.exc.ArgumentError, ValueError):
        # the driver's own words quote parts of the URL, which may be parts of a password
        raise DatabaseUnreachableError(
            "The database URL is malformed.",
            advice="It must look like postgresql://user:password@host:port/database (percent-encode special "
            "characters).",
        ) from None
    defaults = {"connect_timeout": _CONNECT_TIMEOUT_S, "application_name": application_name}
    engine = sa.create_engine(
        url,
        **{
            "pool_pre_ping": True,
            "isolation_level": "READ COMMITTED",
            "connect_args": _without(defaults, url.query),
            **options,
        },
    )

    @event.listens_for(engine, "connect")
    def speak_utc(connection: Any, _: object) -> None:
        # the driver has been told at its login, so that most connections cost nothing more
        if connection.get_parameter_status("TimeZone") != "UTC":
            with connection.cursor() as cursor:
                cursor.execute("SET TIME ZONE 'UTC'")
            connection.commit()

    @event.listens_for(engine, "handle_error")
    def name_the_cause(context: ExceptionContext) -> StorageError | None:
        is_connection_lost = context.connection is None or context.is_disconnect
        if is_connection_lost and not context.is_pre_ping and isinstance(context.original_exception, psycopg2.Error):
            return _connection_error(url, str(context.original_exception))
        return None

    return engine


@contextmanager
def driver_cursor(connection: sa.Connection) -> Iterator[DriverCursor]:
    """A cursor of psycopg2's on the connection, for COPY, within its transaction."""
    cursor = cast(DriverCursor, connection.connection.cursor())
    try:
        yield cursor
    finally:
        cursor.close()


def _without(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in defaults.items() if name not in given}


def _connection_error(url: URL, text: str) -> StorageError:
    place = f"PostgreSQL at {url.host or 'the local socket'}:{url.port or _DEFAULT_PORT}, database {url.database!r},"
    _, is_refusal, refusal = text.partition("FATAL:")
    if "no password supplied" in text:
        is_refusal, refusal = "FATAL:", "no password supplied"
    reason = next(iter(refusal.strip().splitlines()), "")
    if is_refusal and not any(sign in refusal for sign in _NOT_NOW):
        return DatabaseLoginError(
            f"{place} refuses the login: {reason}.",
            advice="Correct the user, password and database name in TICKSTOCK_DATABASE_URL "
            "(percent-encode special characters).",
        )
    if not is_refusal:
        reason = next((words for sign, words in _REASONS if sign in text.lower()), "the connection broke")
    return DatabaseUnreachableError(
        f"{place} does not answer: {reason}.",
        advice="Start it or correct TICKSTOCK_DATABASE_URL; unset the variable to use the embedded server.",
    )


_REASONS = (
    ("refused", "connection refused"),
    ("timeout", "timed out"),
    ("timed out", "timed out"),
    ("translate host name", "unknown host name"),
    ("name or service not known", "unknown host name"),
    ("name resolution", "unknown host name"),
    ("closed the connection", "the server closed the connection"),
    ("ssl", "TLS could not be agreed on"),
    ("certificate", "its TLS certificate was not accepted"),
    ("unreachable", "network unreachable"),
    ("no route", "no route to host"),
    ("no such file", "no such socket"),
)
