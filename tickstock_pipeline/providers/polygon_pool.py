"""The connections below Polygon's client: they keep the status and headers of a refusal, and bound what is read.

What a refusal means is :mod:`tickstock_pipeline.providers.polygon_client`.
"""

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import urllib3

LARGEST_BODY = 256 * 2**20
"""Bytes of one answer; a full page of minutes is 6 MB."""

_LARGEST_REFUSAL = 64 * 2**10
_REFUSAL_SECONDS = 5.0
_CHUNK = 2**18


@dataclass
class RefusalError(Exception):
    """An answer with another status than 200."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class TooLargeError(Exception):
    """An answer that nobody asked for."""


class _StatusKeeping(urllib3.PoolManager):
    """Hands over a good answer unread, and raises any other with all that is known about it."""

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> urllib3.BaseHTTPResponse:
        response = super().request(method, url, *args, preload_content=False, **kwargs)
        if response.status == 200:
            return response
        body = b""
        # the status is what counts, whether or not the reason arrives
        with contextlib.suppress(urllib3.exceptions.HTTPError, OSError, TooLargeError):
            body = body_of(response, time.monotonic() + _REFUSAL_SECONDS, _LARGEST_REFUSAL)
        raise RefusalError(response.status, response.headers, body)


class _StatusKeepingProxy(_StatusKeeping, urllib3.ProxyManager):
    """The same through a proxy."""


def status_keeping_pool(proxy: str | None, **settings: Any) -> urllib3.PoolManager:
    """A pool that raises :class:`RefusalError` where an answer has another status than 200.

    Parameters
    ----------
    proxy : its URL, which may hold a password
    settings : of ``urllib3.PoolManager``
    """
    if proxy is None:
        return _StatusKeeping(**settings)
    login = urllib3.util.parse_url(proxy).auth
    headers = urllib3.make_headers(proxy_basic_auth=login) if login else None
    return _StatusKeepingProxy(proxy, proxy_headers=headers, **settings)


def body_of(response: urllib3.BaseHTTPResponse, deadline: float, largest: int = LARGEST_BODY) -> bytes:
    """An answer, read to its end, by ``deadline`` on the monotonic clock.

    Raises
    ------
    TooLargeError, OSError, urllib3.exceptions.HTTPError
    """
    body = bytearray()
    try:
        while chunk := response.read1(_CHUNK):
            body += chunk
            if len(body) > largest:
                raise TooLargeError
            if time.monotonic() > deadline:
                raise TimeoutError("the answer came too slowly")
    except BaseException:
        # what is left of the answer must not be taken for the next one
        response.close()
        raise
    finally:
        response.release_conn()
    return bytes(body)
