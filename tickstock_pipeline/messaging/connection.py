"""The client of Redis, and what its errors mean to a person; no message shows a password."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tickstock_pipeline.errors import MessagingError, RedisLoginError, RedisUnreachableError

_TIMEOUT_S = 5
_ADVICE = "Start it or correct TICKSTOCK_REDIS_URL; unset the variable to use the embedded server."


class ServerRun(NamedTuple):
    """One run of the server: another ``id`` says that it has been restarted; ``age_s`` is a second more or less."""

    id: str
    age_s: float


def connect(url: str) -> "redis.Redis":
    """A client that answers in bytes; opens no connection yet.

    Parameters
    ----------
    url : ``redis://[:password@]host:port/db``; a secret

    Raises
    ------
    RedisUnreachableError
        If the URL is malformed.
    """
    # one retry, at once: an idle connection may have been closed; longer outages are for the caller to wait out
    return client_of(
        url,
        protocol=2,
        socket_connect_timeout=_TIMEOUT_S,
        socket_timeout=_TIMEOUT_S,
        retry=Retry(NoBackoff(), 1),
    )


def client_of(url: str, **options: Any) -> "redis.Redis":
    """The library's client with options of the caller's; opens no connection yet.

    Parameters
    ----------
    url : as :func:`connect`
    options : of ``redis.Redis.from_url``

    Raises
    ------
    RedisUnreachableError
        If the URL is malformed.
    """
    try:
        return redis.Redis.from_url(url, **options)
    except ValueError:
        # the library's own words quote parts of the URL, which may be parts of a password
        raise RedisUnreachableError("The Redis URL is malformed.", advice=_ADVICE) from None


def server_run(client: "redis.Redis") -> ServerRun:
    """The run of the server that answers now.

    Raises
    ------
    MessagingError
        If it does not answer.
    """
    with named_errors():
        information: Any = client.info("server")
    return ServerRun(str(information["run_id"]), float(information["uptime_in_seconds"]))


@contextmanager
def named_errors() -> Iterator[None]:
    """Turn the client's errors into ours.

    Raises
    ------
    RedisUnreachableError, RedisLoginError
        If Redis does not answer, or refuses the user or the password.
    MessagingError
        If it refuses a command.
    """
    try:
        yield
    except (redis.AuthenticationError, redis.exceptions.NoPermissionError):
        raise RedisLoginError(
            "Redis refuses the user or the password.",
            advice="Correct the user and password in TICKSTOCK_REDIS_URL (percent-encode special characters).",
        ) from None
    except (redis.ConnectionError, redis.TimeoutError, OSError):
        raise RedisUnreachableError("Redis does not answer.", advice=_ADVICE) from None
    except redis.RedisError as error:
        raise MessagingError(
            f"Redis refuses a command: {error}.", advice="Look at its log, its memory and the type of the key."
        ) from None
