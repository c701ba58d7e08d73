"""What others are about to do, so that the automation leaves it to them."""

import sqlalchemy as sa

from tickstock_pipeline.market.timeframe import Timeframe


def symbols_of_active_jobs(connection: sa.Connection) -> set[str]:
    """The symbols of import jobs that have not ended: they see to the bars, and to the analysis if it was asked for."""
    return set(
        connection.scalars(
            sa.text("""
                SELECT DISTINCT symbol FROM import_job_symbols JOIN import_jobs USING (job_id)
                WHERE status IN ('submitted', 'queued', 'running')
            """)
        )
    )


def series_of_live_workers(connection: sa.Connection) -> set[tuple[str, Timeframe]]:
    """The series that a live worker is about to roll up or to analyse; none where no worker is alive."""
    rows = connection.execute(
        sa.text("""
            SELECT symbol, timeframe FROM live_backlog WHERE EXISTS (SELECT FROM live_workers WHERE expires_at > now())
            UNION
            SELECT symbol, timeframe FROM open_periods WHERE EXISTS (SELECT FROM live_workers WHERE expires_at > now())
        """)
    )
    return {(symbol, Timeframe(timeframe)) for symbol, timeframe in rows}
