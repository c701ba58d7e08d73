"""Which proxy the environment names for a request; clients look that up only for connections of their own making."""

from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass


def environment_proxy(url: str) -> str | None:
    """The proxy for a URL by ``http_proxy``, ``https_proxy`` and ``no_proxy``; it may hold a password."""
    parts = urlsplit(url)
    return None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)
