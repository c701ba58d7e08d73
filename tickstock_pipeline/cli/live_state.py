"""What the live feed shows of itself, for ``tickstock status``."""

from typing import Any

from rich.table import Table
from rich.text import Text

from tickstock_pipeline.cli.terminal import new_table
from tickstock_pipeline.errors import MessagingError
from tickstock_pipeline.messaging.channels import FEED_STATE
from tickstock_pipeline.messaging.connection import connect, named_errors
from tickstock_pipeline.settings import Settings

_STYLES = {"healthy": "green", "degraded": "yellow", "unhealthy": "bold red"}


def read_feed_state(settings: Settings) -> dict[str, str] | None:
    """The state of the feed that runs; None if none runs, or Redis does not answer, which is told elsewhere."""
    if settings.redis_url is None:
        return None
    try:
        with connect(settings.redis_dsn()) as client, named_errors():
            found: Any = client.hgetall(FEED_STATE)
    except MessagingError:
        return None
    return {name.decode(): value.decode(errors="replace") for name, value in found.items()} or None


def feed_table(state: dict[str, str]) -> Table:
    """The state for people."""

    def of(name: str) -> str:
        return state.get(name, "")

    provider = of("provider")
    if of("provider_reason"):
        provider += f" ({of('provider_reason')})"
    market = of("market") + (", closes early" if of("is_early_close") == "True" else "")
    connected = f"since {of('connected_since')}" if of("is_connected") == "True" else "no"
    rows = [
        ("Provider", provider),
        ("Connected", f"{connected}, {of('connections')} connections, {of('failures')} failures"),
        ("Market", market),
        ("Symbols", of("symbols")),
        ("Last message", of("last_message")),
        ("Bars", f"{of('bars')} sent, {of('filled')} of them filled in, {of('refused')} refused"),
        ("To the stream", f"{of('stream_p50_ms')} ms p50, {of('stream_p99_ms')} ms p99"),
        ("Queue", f"{of('queue_depth')} of {of('queue_capacity')}, held up for {of('blocked_seconds')} s"),
        ("Gaps", of("gaps_problem") or f"{of('gaps_waiting')} symbols waiting"),
        ("Redis", of("redis_problem")),
        ("Reasons (UTC)", of("reasons")),
    ]
    table = new_table("Live", "Feed")
    table.add_column(of("source"))
    table.add_row("State", Text(of("status"), style=_STYLES.get(of("status"), "")))
    for name, value in rows:
        if value:
            table.add_row(name, Text(value))
    return table
