"""``tickstock test-event``: one marked pattern event, end to end, and its way as the checkpoints are logged."""

from datetime import datetime
from typing import Annotated

import sqlalchemy as sa
import typer

from tickstock_pipeline.cli.terminal import out
from tickstock_pipeline.errors import SettingsError
from tickstock_pipeline.market.symbol import normalise_symbol
from tickstock_pipeline.messaging.channels import PATTERNS
from tickstock_pipeline.messaging.connection import connect
from tickstock_pipeline.messaging.process_states import pattern_listeners
from tickstock_pipeline.runtime.attach import attached_settings
from tickstock_pipeline.settings import Settings
from tickstock_pipeline.storage.engine import create_engine
from tickstock_pipeline.storage.monitoring import FLOW_CHECKPOINTS
from tickstock_pipeline.storage.schema import require_head
from tickstock_pipeline.streaming.trial_event import TEST_PATTERN, follow_trial, publish_trial

EXAMPLES = """Examples:

tickstock test-event

tickstock test-event --symbol TEST --wait 30
"""


def publish_and_follow(
    symbol: Annotated[str, typer.Option(help="Symbol that the event names.")] = "TEST",
    wait: Annotated[float, typer.Option(min=0, max=600, help="Seconds to wait for the consumer.")] = 10.0,
) -> None:
    """Publish one test event and print its way to the user as it is logged.

    The event says that it is a test, and nothing is stored in daily_patterns. Exit code 1 if the consumer has not
    logged all of its checkpoints in time.
    """
    settings = attached_settings(Settings.load())
    try:
        name = normalise_symbol(symbol)
    except ValueError as error:
        raise SettingsError(f"{error}.", advice="Name another symbol.") from None
    engine = create_engine(settings.database_dsn(), poolclass=sa.NullPool)
    with connect(settings.redis_dsn()) as client:
        with engine.connect() as connection:
            require_head(connection)
        listeners = pattern_listeners(client)
        trial = publish_trial(engine, client, name, kept_events=settings.live_events_kept)
    out.print(f"Test event [bold]{TEST_PATTERN}[/] on {name}, flow {trial.flow_id}")
    out.print(f"Connections that listen on {PATTERNS}: {listeners}\n", markup=False)
    first: datetime | None = None
    seen = []
    elapsed_ms = 0.0
    for step in follow_trial(engine, trial, seconds=wait):
        first = first or step.at
        elapsed_ms = (step.at - first).total_seconds() * 1e3
        seen.append(step.checkpoint)
        out.print(f"{elapsed_ms:10.1f} ms  {step.checkpoint:<20} {step.source}", markup=False)
    missing = [checkpoint for checkpoint in FLOW_CHECKPOINTS if checkpoint not in seen]
    if not missing:
        out.print(f"\n[green]Complete[/] after {elapsed_ms:.1f} ms.")
        return
    out.print(f"\n[yellow]Not complete[/] after {wait:g} s: {', '.join(missing)} not logged.", soft_wrap=True)
    if not listeners:
        out.print("Nobody listens on the channel. Is the consumer running, and on this Redis?")
    raise typer.Exit(1)
