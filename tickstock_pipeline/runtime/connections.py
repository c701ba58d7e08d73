"""Whether a database or Redis answers and lets us in, in words that say what to correct and never show a password."""

from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy.pool import NullPool

from tickstock_pipeline.errors import RedisLoginError, RedisUnreachableError
from tickstock_pipeline.storage.engine import create_engine

_CONNECT_TIMEOUT_S = 5
_REDIS_PORT = 6379


def check_database(url: str) -> None:
    """Log in and out again.

    Parameters
    ----------
    url : ``postgresql://...``

    Raises
    ------
    DatabaseUnreachableError
        If nothing answers at the address, or it cannot take a connection now.
    DatabaseLoginError
        If the server refuses the user, the password or the database name.
    """
    create_engine(url, poolclass=NullPool, pool_pre_ping=False).connect().close()


def check_redis(url: str) -> None:
    """Log in, PING and out again.

    Raises
    ------
    RedisUnreachableError
        If nothing answers at the address, or it still loads its data.
    RedisLoginError
        If the server refuses the user or the password.
    """
    place = f"Redis at {_address(url)}"
    try:
        with redis.Redis.from_url(
            url,
            socket_connect_timeout=_CONNECT_TIMEOUT_S,
            socket_timeout=_CONNECT_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        ) as client:
            client.ping()
    except (redis.AuthenticationError, redis.exceptions.NoPermissionError):
        raise RedisLoginError(
            f"{place} refuses the user or the password.",
            advice="Correct the user and password in TICKSTOCK_REDIS_URL (percent-encode special characters).",
        ) from None
    except (redis.RedisError, OSError, ValueError) as error:
        raise RedisUnreachableError(
            f"{place} does not answer: {_reason(str(error))}.",
            advice="Start it or correct TICKSTOCK_REDIS_URL; unset the variable to use the embedded server.",
        ) from None


def _reason(text: str) -> str:
    """A known reason, never the library's own words: they quote parts of a URL with a badly encoded password."""
    lowered = text.lower()
    for sign, reason in (
        ("refused", "connection refused"),
        ("timeout", "timed out"),
        ("timed out", "timed out"),
        ("translate host name", "unknown host name"),
        ("name or service not known", "unknown host name"),
        ("name resolution", "unknown host name"),
        ("nodename nor servname", "unknown host name"),
        ("loading the dataset", "it is still loading its data"),
        ("ssl", "TLS could not be agreed on"),
        ("certificate", "its TLS certificate was not accepted"),
        ("unreachable", "network unreachable"),
        ("no route", "no route to host"),
        ("no such file", "no such socket"),
    ):
        if sign in lowered:
            return reason
    return "the URL is malformed or the connection broke"


def _address(url: str) -> str:
    """``host:port`` of ``url``, whatever else is wrong with it."""
    try:
        parts = urlsplit(url)
        return parts.path if parts.scheme == "unix" else f"{parts.hostname or 'localhost'}:{parts.port or _REDIS_PORT}"
    except ValueError:
        return "the configured address"
