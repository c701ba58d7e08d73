"""The command ``tickstock``: which commands there are, and what happens when one of them fails."""

import errno
import sys
from typing import Annotated

import typer
from sqlalchemy.exc import DBAPIError

from tickstock_pipeline import __version__
from tickstock_pipeline.cli import (
    backfill,
    coverage,
    db,
    doctor,
    env,
    feed,
    gateway,
    import_bars,
    jobs,
    monitor,
    patterns,
    replay,
    status,
    test_event,
    universe,
    up,
    worker,
)
from tickstock_pipeline.cli.terminal import print_error
from tickstock_pipeline.errors import DiskFullError, ServiceError, StorageError, TickstockError

app = typer.Typer(
    name="tickstock",
    help="Stock prices in, patterns out: import, analyse and watch, on Dagster.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("up", epilog=up.EXAMPLES)(up.up)
app.command("status", epilog=status.EXAMPLES)(status.status)
app.command("patterns", epilog=patterns.EXAMPLES)(patterns.patterns)
app.command("import", epilog=import_bars.EXAMPLES)(import_bars.import_bars)
app.command("jobs", epilog=jobs.EXAMPLES)(jobs.jobs)
app.command("backfill", epilog=backfill.EXAMPLES)(backfill.backfill)
app.command("coverage", epilog=coverage.EXAMPLES)(coverage.coverage)
app.command("doctor", epilog=doctor.EXAMPLES)(doctor.doctor)
app.command("env", epilog=env.EXAMPLES)(env.env)
app.command("feed", epilog=feed.EXAMPLES)(feed.feed)
app.command("worker", epilog=worker.EXAMPLES)(worker.worker)
app.command("gateway", epilog=gateway.EXAMPLES)(gateway.gateway)
app.command("monitor", epilog=monitor.EXAMPLES)(monitor.monitor)
app.command("test-event", epilog=test_event.EXAMPLES)(test_event.publish_and_follow)
app.command("replay", epilog=replay.EXAMPLES)(replay.replay)
app.add_typer(db.app, name="db")
app.add_typer(universe.app, name="universe")


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


def _named(error: OSError) -> ServiceError:
    place = f" ({error.filename})" if error.filename else ""
    reason = f"The system refuses: {error.strerror or error}{place}."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(reason, advice="Free some space, or set TICKSTOCK_HOME to a folder on a larger disk.")
    return ServiceError(reason, advice="Correct its owner or permissions, or set TICKSTOCK_HOME to another folder.")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; a failure of ours ends it with a message and exit code 1, never with a stack trace.

    Parameters
    ----------
    arguments : by default those of the process
    """
    try:
        app(arguments, prog_name="tickstock")
    except TickstockError as error:
        print_error(error)
        sys.exit(1)
    except OSError as error:
        print_error(_named(error))
        sys.exit(1)
    except DBAPIError as error:
        print_error(
            StorageError(
                f"PostgreSQL refused a statement: {str(error.orig).partition(chr(10))[0]}.",
                advice="If a privilege is missing, grant it to the user of TICKSTOCK_DATABASE_URL; "
                "`tickstock doctor` checks the rest.",
            )
        )
        sys.exit(1)
