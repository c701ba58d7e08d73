"""Polygon's WebSocket through its official client: one connection, from its opening to its end.

The client (massive 2.9) knows the protocol. It is used so that what it does wrong cannot happen:

- It returns without a word when the server closes with 1000 or 1001, and otherwise reconnects at once, as often as it
  may. Here it never reconnects; the end of a connection is the end of :meth:`PolygonSocket.listen`.
- It goes on for ever, unseen, while the server is down. The delays between its attempts come from us, and the first one
  that is asked for ends it, with the reason.
- A frame that is not JSON, or a status without ``message``, ends it. It gets no frame to read: they are passed on as
  they come, but for those of the login.
- A frame over 1 MiB ends it, unless no limit is set.
- It never notices that nothing comes. That is for the supervisor.
- Topics that are added while it sends others are lost. Here they are changed only when it is not sending.
"""

import asyncio
import json
import logging
import re
from typing import Any, NoReturn

from massive import WebSocketClient
from massive.exceptions import AuthError
from pydantic import SecretStr
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from tickstock_pipeline.errors import ProviderRefusedError, ProviderUnavailableError
from tickstock_pipeline.streaming.feed.source import Line

_OPENING_S = 15.0
_PING_S = 20.0
_SETTLING_S = 0.02
_FINE = frozenset({"connected", "auth_success", "success"})
_STATUS = re.compile(r'\s*\[\s*\{\s*"ev"\s*:\s*"status"')

# Its own words at the level DEBUG are the frames, and the first one that we send is the key.
_wire_logger = logging.getLogger(f"{__name__}.wire")
_wire_logger.setLevel(logging.WARNING)


class PolygonSocket:
    """Connections to one cluster, with topics that may change at any time.

    Parameters
    ----------
    base_url : ``wss://socket.massive.com``, without a slash at its end
    api_key : of the account
    """

    def __init__(self, base_url: str, api_key: SecretStr) -> None:
        scheme, _, self._place = base_url.partition("://")
        self._is_secure = scheme in ("wss", "https")
        self._key = api_key
        self._topics: frozenset[str] = frozenset()
        self._changed = asyncio.Event()

    def subscribe(self, topics: frozenset[str]) -> None:
        """Be subscribed to exactly these topics, such as ``AM.AAPL``."""
        self._topics = topics
        self._changed.set()

    async def listen(self, line: Line) -> None:
        """See :meth:`tickstock_pipeline.streaming.feed.source.LiveSource.listen`."""
        self._changed.clear()
        client = WebSocketClient(
            api_key=self._key.get_secret_value(),
            feed=self._place,
            market="stocks",
            raw=True,
            subscriptions=sorted(self._topics),
            max_reconnects=0,
            secure=self._is_secure,
        )

        async def take(frame: str | bytes) -> None:
            if isinstance(frame, str) and _STATUS.match(frame):
                line.opened()
                for problem in _problems(frame):
                    line.warned(problem)
            else:
                await line.heard(frame)

        following = asyncio.create_task(self._follow(client, line), name="follow-topics")
        try:
            await client.connect(
                take,
                max_size=None,
                open_timeout=_OPENING_S,
                ping_interval=_PING_S,
                ping_timeout=_PING_S,
                reconnect_delays=_give_up,
                logger=_wire_logger,
            )
        except AuthError as error:
            said = str(error).replace(self._key.get_secret_value(), "***")
            raise ProviderRefusedError(
                f"Polygon/Massive refuses the API key: {said}.",
                advice="Correct TICKSTOCK_POLYGON_API_KEY; the key is on your account's page at massive.com. If it is "
                "right, the account's plan may have the delayed stream only: set TICKSTOCK_POLYGON_STREAM_URL to "
                "wss://delayed.massive.com.",
            ) from None
        except _GivenUpError as error:
            raise ProviderUnavailableError(_cannot_open(error.__context__)) from None
        except ConnectionClosed as error:
            raise ProviderUnavailableError(_closed(error)) from None
        except (ValueError, LookupError, TypeError, AttributeError):
            raise ProviderUnavailableError("the login was answered with something else") from None
        except OSError as error:
            raise ProviderUnavailableError(_cannot_open(error)) from None
        finally:
            following.cancel()
            if client.websocket is not None:
                await client.websocket.close()
        raise ProviderUnavailableError(_end_of(client))

    async def _follow(self, client: WebSocketClient, line: Line) -> None:
        """Tell of the first subscription, then keep the client's topics like ours."""
        while client.schedule_resub:
            await asyncio.sleep(_SETTLING_S)
        line.opened()
        while True:
            await self._changed.wait()
            self._changed.clear()
            wanted, has = self._topics, frozenset(client.subs)
            client.scheduled_subs = set(wanted)
            if wanted != has:
                client.schedule_resub = True
            while client.schedule_resub:
                await asyncio.sleep(_SETTLING_S)


class _GivenUpError(Exception):
    """A connection could not be opened; its context says why."""


def _give_up() -> NoReturn:
    """Delays between attempts of websockets' own: there are none."""
    raise _GivenUpError


def _problems(frame: str) -> list[str]:
    try:
        statuses = json.loads(frame)
    except ValueError:
        return []
    return [
        f"{status.get('status')}: {status.get('message', '')}"
        for status in statuses
        if isinstance(status, dict) and status.get("status") not in _FINE
    ]


def _cannot_open(error: BaseException | None) -> str:
    if isinstance(error, InvalidStatus):
        return f"the connection could not be opened: HTTP {error.response.status_code}"
    if isinstance(error, TimeoutError):
        return "the connection could not be opened in time"
    if isinstance(error, ConnectionRefusedError) or "Connect call failed" in str(error):
        return "the connection was refused"
    if isinstance(error, (InvalidHandshake, InvalidURI)):
        return f"the connection could not be opened: {type(error).__name__}"
    if isinstance(error, OSError):
        return f"the connection could not be opened: {error.strerror or type(error).__name__}"
    return f"the connection could not be opened: {type(error).__name__}"


def _closed(error: ConnectionClosed) -> str:
    if error.rcvd is None:
        return "the connection broke"
    return f"the other side closed the connection with {error.rcvd.code} {error.rcvd.reason}".rstrip()


def _end_of(client: WebSocketClient) -> str:
    socket: Any = client.websocket
    code = getattr(socket, "close_code", None)
    return f"the other side closed the connection with {code}" if code else "the other side closed the connection"
