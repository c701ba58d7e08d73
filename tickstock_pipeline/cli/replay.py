"""``tickstock replay``: a provider on this machine, and market time that passes as fast as one likes."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from tickstock_pipeline.cli.terminal import err
from tickstock_pipeline.errors import ProviderError, UnknownSymbolError
from tickstock_pipeline.market.calendar import trading_calendar
from tickstock_pipeline.market.symbol import normalise_symbol
from tickstock_pipeline.providers.base import Listing
from tickstock_pipeline.providers.sample import SampleProvider
from tickstock_pipeline.replay import playback
from tickstock_pipeline.replay.faults import Fault, FaultKind, FaultPlan
from tickstock_pipeline.replay.server import HOST, ReplayServer
from tickstock_pipeline.replay.source import BarSource, ProviderSource
from tickstock_pipeline.replay.stored import StoredSource
from tickstock_pipeline.replay.synthetic import SyntheticSource
from tickstock_pipeline.runtime.attach import attached_settings
from tickstock_pipeline.runtime.ports import require_free_port
from tickstock_pipeline.settings import Settings
from tickstock_pipeline.storage.engine import create_engine

EXAMPLES = """Examples:

tickstock replay

tickstock replay --from 2013-02-25 --to 2013-03-01 --speed 60

tickstock replay --source synthetic --count 500 --calls-per-minute 5

tickstock replay --from 2013-03-01 --faults duplicates,late,cut --rate .01

tickstock replay --source tables --port 0 --log events.jsonl
"""

SYNTHETIC_YEARS = timedelta(days=2 * 366)
"""How far back the synthetic universe reaches from its last session."""
_LINES_IN_A_LOG = 20


class Source(StrEnum):
    """Where the bars come from."""

    SAMPLE = "sample"
    TABLES = "tables"
    SYNTHETIC = "synthetic"


def replay(
    source: Annotated[
        Source,
        typer.Option(help="The sample provider's bars, those in our own tables, or a universe that does not exist."),
    ] = Source.SAMPLE,
    symbols: Annotated[
        str, typer.Option(metavar="A,B,…", help="Whose bars the stream has; by default all.", show_default=False)
    ] = "",
    first: Annotated[
        datetime | None,
        typer.Option("--from", formats=["%Y-%m-%d"], metavar="DATE", help="Play from this session's opening on."),
    ] = None,
    last: Annotated[
        datetime | None,
        typer.Option("--to", formats=["%Y-%m-%d"], metavar="DATE", help="Up to this session's closing. [--from]"),
    ] = None,
    speed: Annotated[
        float, typer.Option(min=0.0, help="Market seconds a second; 0: as fast as the clients read.")
    ] = 60.0,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any free one.")] = 8765,
    api_key: Annotated[
        str, typer.Option(metavar="KEY", help="The only key that is accepted; by default any is.", show_default=False)
    ] = "",
    calls_per_minute: Annotated[
        int, typer.Option(min=0, help="Refuse more requests of a key in any minute; 0: no limit.")
    ] = 0,
    faults: Annotated[
        str,
        typer.Option(metavar="KIND,…", help=f"What goes wrong: {', '.join(FaultKind)}.", show_default=False),
    ] = "",
    rate: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of the requests, frames or events that a fault happens to.")
    ] = 0.05,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn at random.")] = 0,
    count: Annotated[int, typer.Option(min=1, help="Symbols of the synthetic universe.")] = 500,
    trading_share: Annotated[
        float, typer.Option(min=0.01, max=1.0, help="Share of the invented minutes that have a bar.")
    ] = 1.0,
    log: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write each event that is sent into this file.")
    ] = None,
    wait: Annotated[bool, typer.Option(help="Play only once a client has subscribed.")] = True,
    once: Annotated[bool, typer.Option("--once", help="Exit when everything is played.")] = False,
) -> None:
    """Be a provider: speak the protocols of Polygon, Alpha Vantage and Yahoo on 127.0.0.1.

    With --from, sessions are played over Polygon's WebSocket; REST answers then end at the market's time. Without,
    the whole history is there. Minutes that the source does not have are invented so that they add up to its days.
    """
    span = _span(first, last)
    plan = FaultPlan(_faults(faults, rate), seed=seed)
    if port:
        require_free_port(HOST, port, "the replay server", "--port")
    with ExitStack() as stack:
        bars = stack.enter_context(_source(source, count, seed, span))
        listings = _chosen(bars.listings(), symbols, span)
        server = stack.enter_context(
            ReplayServer(
                bars,
                port=port,
                api_key=api_key or None,
                faults=plan,
                calls_per_minute=calls_per_minute,
                seed=seed,
                trading_share=trading_share,
            )
        )
        _announce(server, listings, api_key)
        # a process manager's word for Ctrl-C
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            if span is not None:
                _play(server, [listing.symbol for listing in listings], span, speed, wait, log)
            if span is None or not once:
                err.print("Serving. [bold]Ctrl-C[/] stops it.")
                signal.pause()
        except KeyboardInterrupt:
            err.print(f"Stopped after {len(server.requests)} requests and {server.stream.n_sent} events.")


def _span(first: datetime | None, last: datetime | None) -> tuple[date, date] | None:
    if first is None:
        if last is not None:
            raise typer.BadParameter("give the first date too", param_hint="--from")
        return None
    low, high = first.date(), (last or first).date()
    if high < low:
        raise typer.BadParameter(f"{high} is before {low}", param_hint="--to")
    calendar = trading_calendar()
    if not len(calendar.sessions(low, high)):
        raise typer.BadParameter(
            f"the exchange does not trade between {low} and {high} (its calendar covers {calendar.first} to "
            f"{calendar.last})",
            param_hint="--from, --to",
        )
    return low, high


def _faults(names: str, rate: float) -> list[Fault]:
    found = []
    for name in (part.strip() for part in names.split(",")):
        if not name:
            continue
        try:
            kind = FaultKind(name)
        except ValueError:
            raise typer.BadParameter(f"{name!r} is none of {', '.join(FaultKind)}", param_hint="--faults") from None
        if rate:
            found.append(Fault(kind, times=None, rate=rate))
    return found


@contextmanager
def _source(source: Source, count: int, seed: int, span: tuple[date, date] | None) -> Iterator[BarSource]:
    settings = Settings.load()
    match source:
        case Source.SAMPLE:
            yield ProviderSource(SampleProvider(settings.sample_file))
        case Source.SYNTHETIC:
            now = np.datetime64(datetime.now(UTC).replace(tzinfo=None), "us")
            last = trading_calendar().last_closed(now).astype(object) if span is None else span[1]
            yield SyntheticSource(count, last - SYNTHETIC_YEARS, last, seed=seed)
        case Source.TABLES:
            engine = create_engine(attached_settings(settings).database_dsn())
            try:
                yield StoredSource(engine)
            finally:
                engine.dispose()


def _chosen(listings: Sequence[Listing], symbols: str, span: tuple[date, date] | None) -> list[Listing]:
    """The listings asked for, all of which must exist and one of which must have bars in the span."""
    by_symbol = {listing.symbol: listing for listing in listings}
    try:
        wanted = [normalise_symbol(symbol) for symbol in symbols.split(",")] if symbols else list(by_symbol)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--symbols") from None
    for symbol in wanted:
        if symbol not in by_symbol:
            some = ", ".join(list(by_symbol)[:20])
            raise UnknownSymbolError(f"The source has no symbol {symbol!r}.", advice=f"It has: {some or 'none'}.")
    chosen = [by_symbol[symbol] for symbol in wanted]
    if not chosen:
        raise ProviderError("The source has no bars.", advice="Import some, or choose another --source.")
    if span is not None and not any(listing.first <= span[1] and span[0] <= listing.last for listing in chosen):
        first, last = min(listing.first for listing in chosen), max(listing.last for listing in chosen)
        raise typer.BadParameter(
            f"there are bars from {first} to {last}, none between {span[0]} and {span[1]}", param_hint="--from, --to"
        )
    return chosen


def _announce(server: ReplayServer, listings: Sequence[Listing], api_key: str) -> None:
    first, last = min(listing.first for listing in listings), max(listing.last for listing in listings)
    places = f"at {server.url}, stream at {server.websocket_url}/stocks"
    err.print(f"[bold]Polygon, Alpha Vantage and Yahoo[/] {places}", soft_wrap=True)
    asked = f"What was asked: {server.url}/_replay/requests"
    err.print(f"{len(listings)} symbols, {first} to {last}. {asked}", soft_wrap=True)
    err.print("In another shell, for this product to use it:\n")
    # a key that somebody chose is theirs to set
    key = "…" if api_key else "replay"
    for name, value in {
        "TICKSTOCK_PROVIDER": "polygon",
        "TICKSTOCK_POLYGON_URL": server.url,
        "TICKSTOCK_POLYGON_STREAM_URL": server.websocket_url,
        "TICKSTOCK_POLYGON_API_KEY": key,
        "TICKSTOCK_POLYGON_CALLS_PER_MINUTE": "0",
        "TICKSTOCK_ALPHA_VANTAGE_URL": server.url,
        "TICKSTOCK_ALPHA_VANTAGE_API_KEY": key,
        "TICKSTOCK_YAHOO_URL": server.url,
    }.items():
        typer.echo(f"export {name}={value}")
    err.print()


def _play(
    server: ReplayServer, symbols: Sequence[str], span: tuple[date, date], speed: float, wait: bool, log: Path | None
) -> None:
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=40),
        TextColumn("{task.completed}/{task.total} minutes"),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[detail]}"),
        console=err,
    )
    task = bar.add_task(f"Play {span[0]} to {span[1]}", total=None, detail="")
    shown = 0

    def show(progress: playback.Progress) -> None:
        nonlocal shown
        lag = f", {progress.behind:.1f} s behind" if progress.behind > 1 else ""
        detail = f"{str(progress.now)[:16].replace('T', ' ')} UTC, {progress.events} events{lag}"
        bar.update(task, completed=progress.minutes, total=progress.total_minutes, detail=detail)
        step = max(progress.total_minutes // _LINES_IN_A_LOG, 1)
        if not err.is_terminal and progress.minutes // step > shown:
            # a log file gets a line now and then instead of a bar that moves
            shown = progress.minutes // step
            err.print(f"{progress.minutes}/{progress.total_minutes} minutes: {detail}")

    if wait:
        err.print("Waiting for the first subscription …")
    with open(log, "w", encoding="utf-8") if log else nullcontext() as file, bar:
        playing = server.stream.play(
            *span, symbols=symbols, speed=speed, subscribers=int(wait), log=file, on_progress=show
        )
        try:
            events = playing.wait()
        finally:
            playing.stop()
    err.print(f"Played: {events} events.")
