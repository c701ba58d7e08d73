"""What a live source must do, and what it gives: the one interface behind which all of them stand."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

from tickstock_pipeline.market.bar import RefusedBar
from tickstock_pipeline.messaging.bar_event import LiveBar


class Origin(Enum):
    """Why bars come, which decides whether they may replace what was sent before."""

    LIVE = "live"
    """The source said so just now: it replaces everything."""
    FILL = "fill"
    """Asked for after a gap: it replaces what was sent before it was asked for."""
    STANDBY = "standby"
    """Of another provider while ours is down: it replaces nothing but its own."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """Closed minutes on their way to the stream, those of a symbol in their order.

    Attributes
    ----------
    asked_at : Unix seconds at which they were received, or asked for
    via : how they came to us, for the stream (see ``messaging.bar_stream.VIA_FIELD``)
    """

    bars: Sequence[LiveBar]
    origin: Origin
    asked_at: float
    via: bytes | None = None


@dataclass(slots=True)
class Reading:
    """What a message says.

    Attributes
    ----------
    bars : closed minutes
    refused : (source, bar) of what is no bar
    n_events : bars, trades and quotes in it
    newest_ms : the latest moment it tells of, Unix milliseconds; 0: none
    quotes : the latest quote of each symbol, as JSON
    """

    bars: list[LiveBar] = field(default_factory=list)
    refused: list[tuple[str, RefusedBar]] = field(default_factory=list)
    n_events: int = 0
    newest_ms: int = 0
    quotes: dict[str, str] = field(default_factory=dict)


class Line(Protocol):
    """One connection as its source sees it: whom to tell what."""

    def opened(self) -> None:
        """What is subscribed to comes from now on."""
        ...

    async def heard(self, payload: Any) -> None:
        """A message has come; waits while there is no room for it."""
        ...

    def warned(self, problem: str) -> None:
        """The other side complains, without ending the connection."""
        ...


class LiveSource(Protocol):
    """A source of live bars."""

    @property
    def name(self) -> str:
        """As settings call it."""
        ...

    @property
    def via(self) -> bytes | None:
        """See :class:`Delivery`."""
        ...

    async def listen(self, line: Line) -> None:
        """One connection, from its opening to its end. It is not opened again here.

        Raises
        ------
        ProviderRefusedError
            If the other side will not serve us, however often we ask.
        ProviderUnavailableError
            If the connection cannot be opened, or has broken; says why.
        """
        ...

    def read(self, payload: Any, at: float) -> Reading:
        """What a message says; raises nothing, whatever it holds.

        Parameters
        ----------
        at : when it came, Unix seconds
        """
        ...

    def due(self, now_ms: int) -> list[LiveBar]:
        """The minutes that the market's clock closes."""
        ...

    def follow(self, symbols: Iterable[str]) -> None:
        """Give these symbols' bars from now on, and no others'; takes effect without a new connection."""
        ...
