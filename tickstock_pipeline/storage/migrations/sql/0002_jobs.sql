-- Import jobs, from the message to the last symbol.

-- One row a job, written before anything else is done for it. A job that cannot be done is a row as well, with the
-- reason, so that whoever asks for it gets an answer.
CREATE TABLE import_jobs (
    job_id TEXT NOT NULL PRIMARY KEY,
    job_type TEXT NOT NULL,
    message JSONB NOT NULL,
    source TEXT NOT NULL,
    requested_by TEXT,
    status TEXT NOT NULL DEFAULT 'submitted',
    timeframes TEXT[] NOT NULL DEFAULT '{}',
    first_date DATE,
    last_date DATE,
    run_analysis BOOLEAN NOT NULL DEFAULT false,
    analysis_mode TEXT NOT NULL DEFAULT 'batch',
    error_message TEXT,
    accepted_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    started_at TIMESTAMPTZ,
    completed_at TIMESTAMPTZ,
    cancel_requested_at TIMESTAMPTZ,
    cancel_requested_by TEXT,
    -- until then the status key is the requester's, who writes to it right after the message
    publish_after TIMESTAMPTZ NOT NULL DEFAULT now(),
    published_at TIMESTAMPTZ,
    -- counts the states that were read for the status key, so that an older one never replaces a later one there
    status_version BIGINT NOT NULL DEFAULT 0,
    CONSTRAINT import_jobs_id CHECK (char_length(job_id) BETWEEN 1 AND 200),
    CONSTRAINT import_jobs_status
        CHECK (status IN ('submitted', 'queued', 'running', 'completed', 'failed', 'cancelled')),
    CONSTRAINT import_jobs_type CHECK (
        job_type IN ('csv_universe_load', 'historical_load', 'multi_timeframe_load', 'universe_seed', 'unknown')
    ),
    CONSTRAINT import_jobs_message CHECK (jsonb_typeof(message) = 'object'),
    CONSTRAINT import_jobs_timeframes CHECK (timeframes <@ ARRAY['1min', 'hourly', 'daily', 'weekly', 'monthly']),
    CONSTRAINT import_jobs_analysis_mode CHECK (analysis_mode IN ('per_symbol', 'batch')),
    CONSTRAINT import_jobs_source CHECK (source IN ('channel', 'stream', 'http', 'command')),
    CONSTRAINT import_jobs_dates CHECK (first_date <= last_date),
    CONSTRAINT import_jobs_end CHECK ((completed_at IS NOT NULL) = (status IN ('completed', 'failed', 'cancelled')))
);

CREATE INDEX import_jobs_accepted ON import_jobs (accepted_at);

-- `chunk` is NULL until the symbols are cut into runs; `steps_done` names what has ended, well or not; `errors` says
-- for a step why it did not end well.
CREATE TABLE import_job_symbols (
    job_id TEXT NOT NULL,
    symbol TEXT NOT NULL,
    position INTEGER NOT NULL,
    chunk INTEGER,
    steps_done TEXT[] NOT NULL DEFAULT '{}',
    errors JSONB NOT NULL DEFAULT '{}',
    updated_at TIMESTAMPTZ,
    PRIMARY KEY (job_id, symbol),
    FOREIGN KEY (job_id) REFERENCES import_jobs (job_id) ON DELETE CASCADE
);

-- What was asked of Dagster. The key is also the run's key there, which makes asking twice harmless.
CREATE TABLE import_job_runs (
    job_id TEXT NOT NULL,
    stage TEXT NOT NULL,
    chunk INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    -- steps of its symbols that were to be done when it was asked for: it has brought something if there are fewer now
    n_owed INTEGER NOT NULL DEFAULT 0,
    run_id TEXT,
    status TEXT NOT NULL DEFAULT 'requested',
    requested_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    ended_at TIMESTAMPTZ,
    PRIMARY KEY (job_id, stage, chunk, attempt),
    FOREIGN KEY (job_id) REFERENCES import_jobs (job_id) ON DELETE CASCADE,
    CONSTRAINT import_job_runs_attempt CHECK (attempt >= 1),
    CONSTRAINT import_job_runs_status
        CHECK (status IN ('requested', 'started', 'succeeded', 'failed', 'canceled'))
);

-- Messages that are no job at all, counted by what is wrong with them.
CREATE TABLE refused_messages (
    reason TEXT NOT NULL PRIMARY KEY,
    count BIGINT NOT NULL DEFAULT 1,
    latest_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    latest_excerpt TEXT NOT NULL
);
