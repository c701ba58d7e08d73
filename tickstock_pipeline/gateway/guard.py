"""Who may speak to the gateway: checked once for every request, HTTP or WebSocket, before any handler sees it.

The gateway has no users. It is reached from this machine, or by whoever has the token. What has to be kept out on this
machine is other people's web pages: a browser sends their requests to 127.0.0.1 as well, and names the page in
``Origin``; a page that lets its own name point to 127.0.0.1 is known by its ``Host``.

A page cannot give its WebSocket an ``Authorization`` header. It shows the token among the subprotocols that it offers:
``tickstock`` and ``bearer.`` with the token in base64url, without padding.
"""

import binascii
import hmac
from base64 import urlsafe_b64decode
from collections.abc import Collection, Mapping, Sequence
from urllib.parse import urlsplit

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from tickstock_pipeline.settings import is_loopback

_POLICY_VIOLATION = 1008
_SUBPROTOCOL = "tickstock"


class Guard:
    """ASGI middleware that refuses strangers.

    Parameters
    ----------
    host : the address that the gateway listens on
    token : what an ``Authorization: Bearer`` header must show; None: none is asked for
    names : that are answered to beside local ones. Without any, no other on a loopback address; elsewhere whatever the
        gateway is called, since no page has the token
    open_paths : answered without a token
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        host: str,
        token: str | None,
        names: Collection[str] = (),
        open_paths: frozenset[str] = frozenset(),
    ) -> None:
        self._app = app
        self._names = frozenset(name.lower() for name in names)
        self._has_names = bool(names) or is_loopback(host)
        self._token = token
        self._open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal(scope["path"], headers)
        if refusal is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": refusal[1]})
        else:
            status, reason = refusal
            challenge = {"WWW-Authenticate": "Bearer"} if status == 401 else None
            await JSONResponse({"error": reason}, status, headers=challenge)(scope, receive, send)

    def _refusal(self, path: str, headers: Mapping[bytes, str]) -> tuple[int, str] | None:
        host = headers.get(b"host", "")
        name = _name_of(f"//{host}")
        if self._has_names and not is_loopback(name) and name not in self._names:
            return 403, "this gateway does not answer to that name"
        origin = headers.get(b"origin")
        if origin is not None and _place_of(origin) != host:
            return 403, "pages of other sites may not ask"
        if self._token is not None and path not in self._open_paths:
            shown = _shown_token(headers)
            if shown is None or not hmac.compare_digest(shown, self._token.encode()):
                return 401, "the token is missing or wrong"
        return None


def chosen_subprotocol(offered: Sequence[str]) -> str | None:
    """The subprotocol to answer with: never the one that carries the token, and none where none was offered."""
    return _SUBPROTOCOL if _SUBPROTOCOL in offered else None


def _shown_token(headers: Mapping[bytes, str]) -> bytes | None:
    scheme, _, shown = headers.get(b"authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return shown.strip().encode("latin-1")
    for offered in headers.get(b"sec-websocket-protocol", "").split(","):
        kind, _, encoded = offered.strip().partition(".")
        if kind == "bearer":
            try:
                return urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
            except (binascii.Error, ValueError):
                return None
    return None


def _place_of(url: str) -> str:
    """Host and port of a URL; empty for ``null`` and for what is no URL."""
    try:
        return urlsplit(url).netloc
    except ValueError:
        return ""


def _name_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
