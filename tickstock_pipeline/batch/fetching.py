"""Many requests to a provider at once, in bounded memory: answers come in batches, in the order of their arrival.

1. A pool of threads, as many as the provider allows requests, takes requests in order. Hardly more are handed to it
   than it can begin, so that few answers wait in memory and a stop takes effect at once.
2. The caller's thread collects what arrives and hands it out when there is enough for one write, or when nothing more
   came for a moment. While it writes, the threads go on.
3. Once a provider has failed on a symbol in a way that will not mend, the symbol's other requests are not sent: where
   five requests a minute are allowed, ten years of an unknown symbol would cost two minutes.
4. A stop ends what still waits to be sent, be it for minutes; only what the provider is answering is waited for.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from datetime import date

import numpy as np

from tickstock_pipeline.batch.isolation import apart
from tickstock_pipeline.batch.plan_history import PlanHistory
from tickstock_pipeline.errors import (
    ProviderAnswerError,
    ProviderError,
    ProviderRefusedError,
    UnknownSymbolError,
    WaitEndedError,
)
from tickstock_pipeline.market.adjustment import Dividend, Split
from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.calendar import exchange_date
from tickstock_pipeline.providers.base import FetchedBars, HistoricalProvider, SplitsOfAnother
from tickstock_pipeline.providers.waiting import ended_by
from tickstock_pipeline.storage.corporate_actions import KINDS, ActionFetch, ActionKind

CANCELLED = "cancelled"

# One write of this many rows costs little more than its rows; as arrays they are a megabyte.
_ROWS_A_BATCH = 20_000
_PATIENCE_S = 1.0
_REQUESTS_AHEAD = 4


@dataclass
class OwedFacts:
    """Facts of a symbol that are not fresh, asked for with the first of its requests that is answered."""

    kinds: frozenset[ActionKind] = frozenset()
    # the symbol's other answers wait, so that no bars are stored whose splits could not be had
    turn: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)


@dataclass(frozen=True)
class Request:
    """What to ask of a provider: one symbol's bars, and facts of it that are not fresh.

    Attributes
    ----------
    years : the partitions that the answer is stored as, ascending
    first, last : dates asked, both included, within ``years``
    facts : to ask for as well; shared by the symbol's requests
    """

    symbol: str
    years: tuple[int, ...]
    first: date
    last: date
    facts: OwedFacts = field(default_factory=OwedFacts)


@dataclass(frozen=True)
class Answer:
    """What the provider gave.

    Attributes
    ----------
    has_all_splits : ``splits`` are all that the provider asked knows
    answered : facts that need not be asked again for a while
    begins : the first date that the account's plan has, where it has refused earlier ones of the symbol
    n_requests : calls of the provider; it may need several requests for one
    notes : what a person should know, though nothing failed
    """

    request: Request
    fetched: FetchedBars
    splits: tuple[Split, ...] = ()
    has_all_splits: bool = False
    dividends: tuple[Dividend, ...] = ()
    answered: tuple[ActionFetch, ...] = ()
    begins: date | None = None
    n_requests: int = 1
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refusal:
    """Why there is no answer."""

    request: Request
    reason: str


Arrival = Answer | Refusal


def fetch_in_batches(
    provider: HistoricalProvider,
    history: PlanHistory,
    requests: Iterable[Request],
    should_stop: Callable[[], bool],
) -> Iterator[list[Arrival]]:
    """Send ``requests``, :attr:`HistoricalProvider.concurrency` at once.

    Parameters
    ----------
    history : the provider's bars
    requests : taken one by one as they can be sent
    should_stop : asked in the caller's thread before each request is handed out and once a second; from then on,
        requests not yet sent are refused as :data:`CANCELLED`, also those that wait for the provider's rate limit,
        while those under way are waited for

    Yields
    ------
    Arrivals, one for each request in the end.
    """
    todo = deque(requests)
    given_up: dict[str, str] = {}
    running: set[Future[Arrival]] = set()
    requested: dict[Future[Arrival], Request] = {}
    stopped = threading.Event()
    pool = ThreadPoolExecutor(provider.concurrency, thread_name_prefix="fetch")
    try:
        arrived: list[Arrival] = []
        since = time.monotonic()
        while todo or running:
            while todo and len(running) < provider.concurrency + _REQUESTS_AHEAD and not should_stop():
                request = todo.popleft()
                future = pool.submit(_arrival, provider, history, request, given_up, stopped)
                running.add(future)
                requested[future] = request
            if should_stop():
                stopped.set()
                arrived += [Refusal(request, CANCELLED) for request in todo]
                todo.clear()
                unsent = {future for future in running if future.cancel()}
                arrived += [Refusal(requested.pop(future), CANCELLED) for future in unsent]
                running -= unsent
            done, running = wait(running, timeout=_PATIENCE_S, return_when=FIRST_COMPLETED)
            if done and not arrived:
                since = time.monotonic()
            for future in done:
                del requested[future]
                arrived.append(future.result())
            n_rows = sum(len(item.fetched.bars) for item in arrived if isinstance(item, Answer))
            is_late = time.monotonic() - since >= _PATIENCE_S
            if arrived and (n_rows >= _ROWS_A_BATCH or is_late or not (todo or running)):
                yield arrived
                arrived = []
    finally:
        # also where the caller cannot go on
        stopped.set()
        pool.shutdown(cancel_futures=True)


def _arrival(
    provider: HistoricalProvider,
    history: PlanHistory,
    request: Request,
    given_up: dict[str, str],
    stopped: threading.Event,
) -> Arrival:
    """An answer or why there is none, also where a provider's library raises something of its own."""
    (arrival,) = apart(
        [request],
        lambda _: [_ask(provider, history, request, given_up, stopped)],
        lambda _, reason: [Refusal(request, reason)],
        lambda _: f"fetching {history.timeframe} bars of {request.symbol}, {request.first} to {request.last},",
    )
    return arrival


def _ask(
    provider: HistoricalProvider,
    history: PlanHistory,
    request: Request,
    given_up: dict[str, str],
    stopped: threading.Event,
) -> Arrival:
    symbol = request.symbol
    if symbol in given_up:
        return Refusal(request, given_up[symbol])
    try:
        with ended_by(stopped):
            fetched = history.fetch_bars(symbol, request.first, request.last)
            with request.facts.turn:
                return replace(_with_facts(provider, request, fetched), begins=history.begins(symbol))
    except WaitEndedError:
        return Refusal(request, CANCELLED)
    except ProviderError as error:
        # An answer that cannot be trusted is about the years asked; whatever else is wrong is wrong for all of them.
        if not isinstance(error, ProviderAnswerError):
            given_up[symbol] = error.message
        return Refusal(request, error.message)


def _with_facts(provider: HistoricalProvider, request: Request, fetched: FetchedBars) -> Answer:
    """An answer with the facts asked for.

    Without its splits a symbol's history looks like a crash, so bars are not stored if they cannot be had at the
    moment; a plan that does not have them at all must not keep the bars away for ever. Dividends change no analysis.
    """
    splits: tuple[Split, ...] = ()
    has_all_splits = False
    dividends: tuple[Dividend, ...] = ()
    answered, notes = [], []
    kinds = request.facts.kinds
    for kind in (kind for kind in KINDS if kind in kinds):
        try:
            if kind == "splits":
                splits = provider.fetch_splits(request.symbol)
                has_all_splits = not isinstance(splits, SplitsOfAnother)
            else:
                dividends = provider.fetch_dividends(request.symbol)
        except (ProviderRefusedError, UnknownSymbolError) as error:
            notes.append(f"no {kind}: {error.message}")
        except ProviderError as error:
            if kind == "splits":
                raise
            notes.append(f"no {kind}: {error.message}")
            continue
        answered.append(ActionFetch(request.symbol, kind, provider.name))
    request.facts.kinds = frozenset()
    return Answer(
        request,
        fetched,
        splits,
        has_all_splits,
        dividends,
        tuple(answered),
        n_requests=1 + len(kinds),
        notes=tuple(notes),
    )


def of_dates(bars: Bars, first: date, last: date) -> Bars:
    """The bars whose date, of the key or on the exchange, is from ``first`` to ``last``, both included."""
    days = exchange_date(bars.time) if bars.timeframe.is_intraday else bars.time.astype("datetime64[D]")
    low = int(np.searchsorted(days, np.datetime64(first, "D")))
    return bars[low : int(np.searchsorted(days, np.datetime64(last, "D"), side="right"))]
