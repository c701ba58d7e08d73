"""Live work on a screen of 80 by 24 characters, and as a document for programs."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tickstock_pipeline.cli.terminal import new_table, shown_instant
from tickstock_pipeline.messaging.process_states import State
from tickstock_pipeline.storage.monitoring import FLOW_CHECKPOINTS
from tickstock_pipeline.streaming.diagnosis import number, troubles
from tickstock_pipeline.streaming.observation import FLOW_MINUTES, FlowView, LiveView, ShownView, StoredView

_WORKERS_SHOWN = 3
_NAME_WIDTH = 16
_MINUTES_SHOWN = 4
_TROUBLES_SHOWN = 3
_STYLES = {"healthy": "green", "degraded": "yellow", "unhealthy": "bold red", "stopped": "dim"}


def screen(view: LiveView, flows: FlowView | None) -> RenderableType:
    """Everything that fits, the most important first."""
    parts: list[RenderableType] = [_head(view)]
    if view.shown is not None:
        parts += [_feed(view.shown.feed), _workers(view.shown), _lag(view.shown)]
    if view.stored is not None:
        parts.append(_waiting(view.stored))
    if flows is not None:
        parts.append(_signs(view, flows))
        both = Table.grid(padding=(0, 3))
        both.add_row(_minutes(flows), _latencies(flows))
        parts.append(both)
    return Group(*parts, *_troubles(view))


def as_document(view: LiveView, flows: FlowView | None) -> dict[str, Any]:
    """The same in full, with names that stay."""
    document: dict[str, Any] = {
        "at": datetime.fromtimestamp(view.at, UTC),
        "problems": dict(view.problems),
        "degraded": [trouble._asdict() for trouble in troubles(view)],
        "feed": None,
        "workers": None,
        "lag": None,
        "flows": None,
        "waiting": None,
    }
    if view.shown is not None:
        shown = view.shown
        document |= {
            "feed": shown.feed,
            "workers": dict(shown.workers),
            "lag": {str(shard): lag._asdict() for shard, lag in shown.lag.items()},
            "heartbeats": dict(shown.heartbeats),
            "listeners": shown.listeners,
            "kept_events": shown.kept_events,
        }
    if view.stored is not None:
        stored = view.stored
        document |= {
            "waiting": asdict(stored.waiting),
            "leases": {str(lease.shard): lease.worker for lease in stored.leases},
            "vanished_workers": list(stored.vanished_workers),
            "jobs": dict(stored.jobs),
        }
    if flows is not None:
        document["flows"] = {
            "window_minutes": FLOW_MINUTES,
            "minutes": [
                {"minute": one.minute, **dict(zip(FLOW_CHECKPOINTS, one.counts, strict=True))} for one in flows.minutes
            ],
            "checkpoints": [asdict(one) for one in flows.checkpoints],
            "published": flows.summary.published,
            "complete": flows.summary.complete,
            "latencies": [asdict(one) for one in flows.summary.latencies],
            "producer_alive": flows.alive_at,
            "producer_details": dict(flows.alive),
            "consumer_heard": flows.consumer_at,
        }
    return document


def _head(view: LiveView) -> Text:
    text = Text(f"Live work at {shown_instant(datetime.fromtimestamp(view.at, UTC))} UTC", style="bold")
    for part, shown in (("PostgreSQL", view.stored), ("Redis", view.shown)):
        text.append(f"   {part} ", style="not bold")
        text.append(*(("up", "not bold green") if shown is not None else ("down", "bold red")))
    return text


def _feed(feed: State | None) -> Text:
    text = Text("Feed     ")
    if feed is None:
        return text.append("none runs", style="dim")
    status = feed.get("status", "")
    text.append(status, style=_STYLES.get(status, ""))
    text.append(
        f"  {feed.get('provider') or feed.get('source', '')}, market {feed.get('market', '?')}, "
        f"{number(feed, 'symbols'):.0f} symbols, {number(feed, 'bars'):,.0f} bars, "
        f"queue {number(feed, 'queue_depth'):.0f}"
    )
    text.truncate(79, overflow="ellipsis")
    return text


def _workers(shown: ShownView) -> RenderableType:
    if not shown.workers:
        return Text("Workers  ").append("none runs", style="dim")
    table = new_table("")
    table.title = None
    table.add_column("Worker", no_wrap=True)
    table.add_column("State", no_wrap=True)
    for heading in ("Shards", "Bars", "Patterns", "Lag ms", "Batch", "Errors"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, state in list(shown.workers.items())[:_WORKERS_SHOWN]:
        status = state.get("status", "")
        shards = [shard for shard in state.get("shards", "").split(",") if shard]
        table.add_row(
            # names differ at their end: host, process, something random
            Text(name if len(name) <= _NAME_WIDTH else f"…{name[1 - _NAME_WIDTH :]}"),
            Text("no analysis" if state.get("breaker") == "open" else status, style=_STYLES.get(status, "")),
            str(len(shards)),
            *(_count(number(state, key)) for key in ("bars", "patterns", "lag_ms", "last_batch_ms")),
            f"{number(state, 'errors_last_minute'):.0f}",
        )
    if len(shown.workers) > _WORKERS_SHOWN:
        table.add_row(f"and {len(shown.workers) - _WORKERS_SHOWN} more")
    return table


def _lag(shown: ShownView) -> Text:
    """Undelivered bars of each shard in order; what is delivered and not done after a plus."""
    text = Text("Lag by shard  ")
    if not shown.lag:
        return text.append("no stream of bars", style="dim")
    for lag in shown.lag.values():
        is_behind = lag.undelivered > 0
        text.append(f"{lag.undelivered}", style="yellow" if is_behind else "green")
        if lag.pending:
            text.append(f"+{lag.pending}", style="dim")
        text.append(" ")
    text.truncate(79, overflow="ellipsis")
    return text


def _waiting(stored: StoredView) -> Text:
    waiting = stored.waiting
    jobs = ", ".join(f"{count} {status}" for status, count in stored.jobs.items()) or "none"
    text = Text(
        f"Waiting       outbox {waiting.outbox}, without analysis {waiting.backlog}, "
        f"open periods {waiting.open_periods}; jobs: {jobs}"
    )
    text.truncate(79, overflow="ellipsis")
    return text


def _signs(view: LiveView, flows: FlowView) -> Text:
    beats = [] if view.shown is None else [beat for beat in view.shown.heartbeats.values() if beat is not None]
    text = Text("Heard         producer ")
    if flows.alive_at is not None:
        text.append(_ago(view.at - flows.alive_at.timestamp()))
        patterns = flows.alive.get("patterns_detected")
        if patterns is not None:
            text.append(f" ({patterns} patterns)")
    else:
        text.append("never lately", style="dim")
    text.append(f", heartbeat {_ago(view.at - max(beats))}" if beats else ", no heartbeat")
    text.append("; consumer ")
    if flows.consumer_at is None:
        text.append("never lately", style="dim")
    else:
        text.append(_ago(view.at - flows.consumer_at.timestamp()))
    text.truncate(79, overflow="ellipsis")
    return text


def _minutes(flows: FlowView) -> Table:
    table = new_table("Flows a minute", "UTC")
    for heading in ("Publ", "Rcvd", "Prsd", "Dlvd"):
        table.add_column(heading, justify="right")
    for one in flows.minutes[:_MINUTES_SHOWN]:
        table.add_row(f"{one.minute.astimezone(UTC):%H:%M}", *map(str, one.counts))
    if not flows.minutes:
        table.add_row("none")
    return table


def _latencies(flows: FlowView) -> Table:
    summary = flows.summary
    table = new_table(f"Latency, ms: {summary.complete}/{summary.published} complete in {FLOW_MINUTES} min", "Stage")
    for heading in ("p50", "p95", "max"):
        table.add_column(heading, justify="right")
    for one in summary.latencies:
        table.add_row(
            one.stage.replace("_", " "),
            *("" if value is None else f"{value:,.1f}" for value in (one.p50, one.p95, one.max)),
        )
    return table


def _troubles(view: LiveView) -> list[RenderableType]:
    found = troubles(view)
    shown: list[RenderableType] = []
    for trouble in found[:_TROUBLES_SHOWN]:
        text = Text(f"! {trouble.part}: {trouble.what}", style="yellow")
        text.truncate(79, overflow="ellipsis")
        shown.append(text)
    if len(found) > _TROUBLES_SHOWN:
        shown.append(Text(f"! and {len(found) - _TROUBLES_SHOWN} more", style="yellow"))
    return shown


def _count(value: float) -> str:
    return f"{value / 1e6:,.1f} M" if value >= 1e6 else f"{value:,.0f}"


def _ago(seconds: float) -> str:
    return f"{max(seconds, 0):.0f} s ago"
