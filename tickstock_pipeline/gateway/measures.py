"""What the gateway counts itself, in the words of Prometheus; what other processes count is in ``metrics``."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from tickstock_pipeline.gateway.published_event import PublishedEvent

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)

_LONGEST_FRESHNESS_MS = 3_600_000.0

_STAGES = {
    "detection": "bar at the worker to its detection",
    "publication": "end of the bar's period to the event",
    "stream": "event published to event read by the gateway",
    "socket": "event read by the gateway to event handed to a client's connection",
}


class GatewayMeasures:
    """Counters of one gateway; each application has its own.

    Attributes
    ----------
    registry : all of them, with those of the process
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.patterns = Counter(
            "tickstock_patterns",
            "Pattern events that the gateway has read since its start.",
            ["pattern", "timeframe", "direction"],
            registry=self.registry,
        )
        self.retractions = Counter(
            "tickstock_retractions",
            "Retractions that the gateway has read since its start.",
            ["pattern", "timeframe"],
            registry=self.registry,
        )
        self.unreadable = Counter(
            "tickstock_gateway_unreadable_events",
            "Entries of the streams of pattern events and retractions that are neither.",
            registry=self.registry,
        )
        self.reconnects = Counter(
            "tickstock_gateway_redis_reconnects",
            "How often the gateway lost its connection to the stream of pattern events.",
            registry=self.registry,
        )
        self.clients = Gauge(
            "tickstock_gateway_clients", "WebSocket clients connected at the moment.", registry=self.registry
        )
        self.longest_queue = Gauge(
            "tickstock_gateway_longest_client_queue",
            "Messages that wait for the slowest WebSocket client.",
            registry=self.registry,
        )
        self.sent = Counter(
            "tickstock_gateway_sent_messages", "Messages handed to WebSocket clients.", registry=self.registry
        )
        self.dropped = Counter(
            "tickstock_gateway_dropped_clients",
            "WebSocket clients that were disconnected by the gateway.",
            ["reason"],
            registry=self.registry,
        )
        self.latency = Histogram(
            "tickstock_latency_seconds",
            "Live path by stage: " + "; ".join(f"{stage}: {what}" for stage, what in _STAGES.items()) + ".",
            ["stage"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.socket_latency = self.latency.labels("socket")

    def saw_events(self, events: Iterable[PublishedEvent], now: float) -> None:
        """Count events that were just read.

        Parameters
        ----------
        now : Unix seconds
        """
        for event in events:
            traits = event.traits
            if traits.is_retraction:
                self.retractions.labels(traits.pattern, traits.timeframe).inc()
            else:
                self.patterns.labels(traits.pattern, traits.timeframe, event.direction).inc()
            self.latency.labels("stream").observe(max(now - event.published_at, 0.0))
            if event.detection_ms is not None:
                self.latency.labels("detection").observe(event.detection_ms / 1e3)
            # an old session played again says nothing about speed
            if event.freshness_ms is not None and event.freshness_ms < _LONGEST_FRESHNESS_MS:
                self.latency.labels("publication").observe(event.freshness_ms / 1e3)
