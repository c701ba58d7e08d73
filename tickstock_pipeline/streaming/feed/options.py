"""How patient a feed is: the defaults are for real markets, tests shorten them."""

from collections.abc import Callable
from dataclasses import dataclass, field

from tickstock_pipeline.streaming.feed.inbox import DEFAULT_CAPACITY
from tickstock_pipeline.streaming.feed.supervisor import Patience


@dataclass(frozen=True, slots=True)
class FeedOptions:
    """Seconds, and the size of the inbox.

    Attributes
    ----------
    inbox_capacity : messages that may wait between reading and work
    symbols_every : how often it is asked whose bars are wanted
    settling : after a connection has opened, until its gap is asked for
    standby_after, standby_every : see :class:`tickstock_pipeline.streaming.feed.standby.Standby`
    retry : until a fill that failed is tried again
    state_every : how often the state is shown
    is_watched : whether silence is a bad sign now; None: in regular sessions, by the calendar
    """

    patience: Patience = field(default_factory=Patience)
    inbox_capacity: int = DEFAULT_CAPACITY
    symbols_every: float = 30.0
    settling: float = 5.0
    retry: float = 30.0
    standby_after: float = 120.0
    standby_every: float = 60.0
    state_every: float = 2.0
    is_watched: Callable[[], bool] | None = None
