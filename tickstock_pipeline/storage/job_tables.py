"""The tables of import jobs as SQLAlchemy sees them, for statements; ``0002_jobs.sql`` says what they mean."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.tables import METADATA

_INSTANT = sa.TIMESTAMP(timezone=True)


JOB_TYPES = ("csv_universe_load", "historical_load", "multi_timeframe_load", "universe_seed")

UNKNOWN_TYPE = "unknown"
"""The type of a job that names none of them, and has failed."""


def _one_of(column: str, *values: str) -> str:
    return f"{column} IN ({', '.join(repr(value) for value in values)})"


IMPORT_JOBS = sa.Table(
    "import_jobs",
    METADATA,
    sa.Column("job_id", sa.Text, primary_key=True),
    sa.Column("job_type", sa.Text, nullable=False),
    sa.Column("message", JSONB, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("requested_by", sa.Text),
    sa.Column("status", sa.Text, nullable=False, server_default="submitted"),
    sa.Column("timeframes", ARRAY(sa.Text), nullable=False, server_default="{}"),
    sa.Column("first_date", sa.Date),
    sa.Column("last_date", sa.Date),
    sa.Column("run_analysis", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("analysis_mode", sa.Text, nullable=False, server_default="batch"),
    sa.Column("error_message", sa.Text),
    sa.Column("accepted_at", _INSTANT, nullable=False, server_default=sa.func.now()),
    sa.Column("started_at", _INSTANT),
    sa.Column("completed_at", _INSTANT),
    sa.Column("cancel_requested_at", _INSTANT),
    sa.Column("cancel_requested_by", sa.Text),
    sa.Column("publish_after", _INSTANT, nullable=False, server_default=sa.func.now()),
    sa.Column("published_at", _INSTANT),
    sa.Column("status_version", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.CheckConstraint("char_length(job_id) BETWEEN 1 AND 200", name="import_jobs_id"),
    sa.CheckConstraint(
        _one_of("status", "submitted", "queued", "running", "completed", "failed", "cancelled"),
        name="import_jobs_status",
    ),
    sa.CheckConstraint(_one_of("job_type", *JOB_TYPES, UNKNOWN_TYPE), name="import_jobs_type"),
    sa.CheckConstraint("jsonb_typeof(message) = 'object'", name="import_jobs_message"),
    sa.CheckConstraint(
        f"timeframes <@ ARRAY[{', '.join(repr(str(frame)) for frame in Timeframe)}]", name="import_jobs_timeframes"
    ),
    sa.CheckConstraint(_one_of("analysis_mode", "per_symbol", "batch"), name="import_jobs_analysis_mode"),
    sa.CheckConstraint(_one_of("source", "channel", "stream", "http", "command"), name="import_jobs_source"),
    sa.CheckConstraint("first_date <= last_date", name="import_jobs_dates"),
    sa.CheckConstraint(
        f"(completed_at IS NOT NULL) = ({_one_of('status', 'completed', 'failed', 'cancelled')})",
        name="import_jobs_end",
    ),
    sa.Index("import_jobs_accepted", "accepted_at"),
)


def _of_a_job() -> sa.Column[str]:
    return sa.Column(
        "job_id", sa.Text, sa.ForeignKey(IMPORT_JOBS.c.job_id, ondelete="CASCADE"), primary_key=True, nullable=False
    )


IMPORT_JOB_SYMBOLS = sa.Table(
    "import_job_symbols",
    METADATA,
    _of_a_job(),
    sa.Column("symbol", sa.Text, primary_key=True),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("chunk", sa.Integer),
    sa.Column("steps_done", ARRAY(sa.Text), nullable=False, server_default="{}"),
    sa.Column("errors", JSONB, nullable=False, server_default="{}"),
    sa.Column("updated_at", _INSTANT),
)

IMPORT_JOB_RUNS = sa.Table(
    "import_job_runs",
    METADATA,
    _of_a_job(),
    sa.Column("stage", sa.Text, primary_key=True),
    sa.Column("chunk", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("attempt", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("n_owed", sa.Integer, nullable=False, server_default=sa.text("0")),
    sa.Column("run_id", sa.Text),
    sa.Column("status", sa.Text, nullable=False, server_default="requested"),
    sa.Column("requested_at", _INSTANT, nullable=False, server_default=sa.func.now()),
    sa.Column("ended_at", _INSTANT),
    sa.CheckConstraint("attempt >= 1", name="import_job_runs_attempt"),
    sa.CheckConstraint(
        _one_of("status", "requested", "started", "succeeded", "failed", "canceled"), name="import_job_runs_status"
    ),
)

REFUSED_MESSAGES = sa.Table(
    "refused_messages",
    METADATA,
    sa.Column("reason", sa.Text, primary_key=True),
    sa.Column("count", sa.BigInteger, nullable=False, server_default=sa.text("1")),
    sa.Column("latest_at", _INSTANT, nullable=False, server_default=sa.func.now()),
    sa.Column("latest_excerpt", sa.Text, nullable=False),
)
