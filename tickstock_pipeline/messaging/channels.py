"""Every name on Redis that other programs know. They are contracts: none of them changes."""

SOURCE = "TickStockPL"

PATTERNS = "tickstock.events.patterns"
PATTERNS_RETRACTED = "tickstock.events.patterns.retracted"
ANALYSIS_COMPLETE = "tickstock:events:analysis_complete"
BACKTESTING_PROGRESS = "tickstock.events.backtesting.progress"
BACKTESTING_RESULTS = "tickstock.events.backtesting.results"
HEALTH = "tickstock.health.status"
MARKET_DATA = "tickstock_data"
JOBS = "tickstock.jobs.data_load"
JOB_CONTROL = "tickstock.jobs.control"

PATTERN_STREAM = "pattern_events"
PATTERN_FIELD = "event"
HEARTBEATS = ("tickstock:producer:heartbeat", "tickstockpl:heartbeat")

# Ours alone: the durable way in beside the channel, which loses what is sent while nobody listens.
JOB_STREAM = "tickstock:jobs:data_load"

# Ours alone: retractions for the gateway's clients, in one order with the stream of pattern events.
RETRACTION_STREAM = "tickstock:patterns:retracted"

# Ours alone: how many shards the live bars have, who reads them, and the mark by which we know our own bars again.
BAR_SHARDS = "tickstock:bars:shards"
BAR_GROUP = "workers"
PRODUCER_MARK = {"producer": SOURCE}

# Ours alone: the state of the live feed (a hash), whose turn it is to feed, the latest quotes (a hash by symbol).
FEED_STATE = "tickstock:feed"
FEED_TURN = "tickstock:feed:turn"
QUOTES = "tickstock:quotes"


def job_status_key(job_id: str) -> str:
    """The key under which a job's status is read."""
    return f"tickstock.jobs.status:{job_id}"


def job_status_version_key(job_id: str) -> str:
    """Ours alone: which state of a job its status key tells of."""
    return f"tickstock:jobs:status_version:{job_id}"


def bar_stream(shard: int) -> str:
    """The stream of live bars of one shard of the symbols."""
    return f"tickstock:bars:{shard}"


def worker_state_key(worker: str) -> str:
    """The hash in which a worker shows its state; it expires if the worker ends."""
    return f"tickstock:workers:{worker}"
