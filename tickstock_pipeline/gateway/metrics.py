"""``/metrics`` for Prometheus: what the gateway counts itself, and what feed, workers and database show.

Counters of other processes begin again with their process, as Prometheus expects.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from tickstock_pipeline.gateway.measures import GatewayMeasures
from tickstock_pipeline.messaging.process_states import State
from tickstock_pipeline.streaming.diagnosis import number
from tickstock_pipeline.streaming.observation import FlowView, LiveView, Observer, ShownView, StoredView

PATH = "/metrics"


class Shown(NamedTuple):
    """A number of a process's state, and what it is as a metric; ``scale`` makes seconds of milliseconds."""

    key: str
    name: str
    help: str
    is_counter: bool = False
    scale: float = 1.0


_OF_WORKERS = (
    Shown("bars", "tickstock_bars", "Live bars stored.", True),
    Shown("entries", "tickstock_bar_entries", "Entries of the streams of bars that are done.", True),
    Shown("batches", "tickstock_batches", "Batches of bars committed.", True),
    Shown("patterns", "tickstock_worker_patterns", "Detections on live bars.", True),
    Shown("repeats", "tickstock_repeated_bars", "Live bars that were stored before.", True),
    Shown("quarantined", "tickstock_quarantined_bars", "Live bars that broke a rule.", True),
    Shown("outside_session", "tickstock_outside_session_bars", "Live bars outside the regular session.", True),
    Shown("unanalysed_bars", "tickstock_unanalysed_bars", "Live bars stored without analysis, by this worker."),
    Shown("lag_ms", "tickstock_worker_lag_seconds", "Age of the last batch's oldest entry.", scale=1e-3),
    Shown("last_batch_ms", "tickstock_last_batch_seconds", "From receipt to publication.", scale=1e-3),
    Shown("last_batch_bars", "tickstock_last_batch_bars", "Bars of the last batch."),
    Shown("errors_last_minute", "tickstock_worker_errors_last_minute", "Errors within the last minute."),
    Shown("series", "tickstock_followed_series", "Series that the worker follows."),
    Shown("series_waiting", "tickstock_waiting_series", "Series that wait for their analysis."),
    Shown("uptime_seconds", "tickstock_worker_uptime_seconds", "Since the worker's start."),
)

_OF_FEED = (
    Shown("messages", "tickstock_feed_messages", "Messages from the provider.", True),
    Shown("events", "tickstock_feed_events", "Events in those messages.", True),
    Shown("bars", "tickstock_feed_bars", "Bars sent to the streams.", True),
    Shown("repeats", "tickstock_feed_repeated_bars", "Bars that had been sent before.", True),
    Shown("filled", "tickstock_feed_filled_bars", "Bars fetched to fill gaps.", True),
    Shown("stood_in", "tickstock_feed_stand_in_bars", "Bars of another provider.", True),
    Shown("refused", "tickstock_feed_refused_bars", "Bars that broke a rule.", True),
    Shown("connections", "tickstock_feed_connections", "Connections opened; all but one are reconnects.", True),
    Shown("failures", "tickstock_feed_failures", "Connections that ended or could not be opened.", True),
    Shown("redis_restarts", "tickstock_feed_redis_restarts", "Restarts of Redis that were made up for.", True),
    Shown("blocked_seconds", "tickstock_feed_blocked_seconds", "Reading was held up by a full queue.", True),
    Shown("queue_depth", "tickstock_feed_queue_depth", "Messages that wait in the feed."),
    Shown("queue_capacity", "tickstock_feed_queue_capacity", "Messages that may wait in the feed."),
    Shown("gaps_waiting", "tickstock_feed_gaps_waiting", "Gaps that are to be filled."),
    Shown("symbols", "tickstock_feed_symbols", "Symbols subscribed to."),
    Shown("stream_p50_ms", "tickstock_feed_stream_p50_seconds", "Socket to stream, median.", scale=1e-3),
    Shown("stream_p99_ms", "tickstock_feed_stream_p99_seconds", "Socket to stream, 99th percentile.", scale=1e-3),
)


class LiveCollector(Collector):
    """Asks for the state of live work when Prometheus asks."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def collect(self) -> Iterable[Metric]:
        """All metrics that are not counted here."""
        view = self._observer.look()
        up = GaugeMetricFamily("tickstock_up", "Whether a part answers.", labels=["part"])
        up.add_metric(["database"], view.stored is not None)
        up.add_metric(["redis"], view.shown is not None)
        if view.shown is not None:
            up.add_metric(["feed"], view.shown.feed is not None)
            up.add_metric(["worker"], bool(view.shown.workers))
            yield from _shown(view.shown, view)
        if view.stored is not None:
            yield from _stored(view.stored)
        yield up
        flows = self._observer.flows()
        if flows is not None:
            yield from _flows(flows)

    def describe(self) -> Iterable[Metric]:
        """Nothing: asking at registration would need the servers."""
        return ()


class MetricsEndpoint:
    """Answers Prometheus."""

    def __init__(self, measures: GatewayMeasures, observer: Observer) -> None:
        self._registry = measures.registry
        self._registry.register(LiveCollector(observer))

    def answer(self, _: Request) -> Response:
        """All metrics as text."""
        return Response(generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})


def _shown(shown: ShownView, view: LiveView) -> Iterator[Metric]:
    for what in _OF_WORKERS:
        yield _family(what, "worker", shown.workers)
    if shown.feed is not None:
        for what in _OF_FEED:
            yield _family(what, "source", {shown.feed.get("source", ""): shown.feed})
        connected = GaugeMetricFamily("tickstock_feed_connected", "Whether the provider's connection is up.")
        connected.add_metric([], shown.feed.get("is_connected") == "True")
        yield connected
    breaker = GaugeMetricFamily(
        "tickstock_breaker_open", "Whether a worker leaves analysis for later.", labels=["worker"]
    )
    status = GaugeMetricFamily("tickstock_status", "1 for the status that a process shows.", labels=["part", "status"])
    for name, state in shown.workers.items():
        breaker.add_metric([name], state.get("breaker") == "open")
        status.add_metric([f"worker:{name}", state.get("status", "")], 1)
    if shown.feed is not None:
        status.add_metric(["feed", shown.feed.get("status", "")], 1)
    yield breaker
    yield status
    undelivered = GaugeMetricFamily("tickstock_shard_lag_entries", "Bars that no worker has read.", labels=["shard"])
    pending = GaugeMetricFamily("tickstock_shard_pending_entries", "Bars read and not done.", labels=["shard"])
    for shard, lag in shown.lag.items():
        undelivered.add_metric([str(shard)], lag.undelivered)
        pending.add_metric([str(shard)], lag.pending)
    yield undelivered
    yield pending
    beats = [beat for beat in shown.heartbeats.values() if beat is not None]
    if beats:
        yield _gauge("tickstock_heartbeat_age_seconds", "Since the producer's heartbeat.", view.at - max(beats))
    yield _gauge("tickstock_pattern_channel_listeners", "Connections on the channel of patterns.", shown.listeners)
    yield _gauge("tickstock_pattern_stream_events", "Events kept for clients that come again.", shown.kept_events)


def _stored(stored: StoredView) -> Iterator[Metric]:
    waiting = stored.waiting
    yield _gauge("tickstock_outbox_rows", "Committed batches of messages not yet published.", waiting.outbox)
    yield _gauge("tickstock_outbox_oldest_seconds", "Age of the oldest of them.", waiting.outbox_oldest_s)
    yield _gauge("tickstock_backlog_bars", "Live bars without analysis.", waiting.backlog)
    yield _gauge("tickstock_open_periods", "Coarse bars that are begun.", waiting.open_periods)
    free = sum(lease.worker is None for lease in stored.leases)
    yield _gauge("tickstock_shards_without_worker", "Shards that nobody works on.", free)
    jobs = GaugeMetricFamily("tickstock_jobs", "Import jobs.", labels=["status"])
    for status, count in stored.jobs.items():
        jobs.add_metric([status], count)
    yield jobs


def _flows(flows: FlowView) -> Iterator[Metric]:
    latency = GaugeMetricFamily(
        "tickstock_flow_latency_seconds",
        "Flows of the last minutes between checkpoints of both sides.",
        labels=["stage", "quantile"],
    )
    for stage in flows.summary.latencies:
        for quantile, value in (("0.5", stage.p50), ("0.95", stage.p95), ("1", stage.max)):
            if value is not None:
                latency.add_metric([stage.stage, quantile], value / 1e3)
    yield latency
    yield _gauge("tickstock_flows_published", "Flows published within the last minutes.", flows.summary.published)
    yield _gauge("tickstock_flows_complete", "Those of them with all checkpoints.", flows.summary.complete)
    if flows.consumer_at is not None:
        age = time.time() - flows.consumer_at.timestamp()
        yield _gauge("tickstock_consumer_silence_seconds", "Since the consumer logged something.", age)


def _family(what: Shown, label: str, states: Mapping[str, State]) -> Metric:
    kind = CounterMetricFamily if what.is_counter else GaugeMetricFamily
    family = kind(what.name, what.help, labels=[label])
    for name, state in states.items():
        if what.key in state:
            family.add_metric([name], number(state, what.key) * what.scale)
    return family


def _gauge(name: str, description: str, value: float) -> Metric:
    return GaugeMetricFamily(name, description, value=value)
