"""Which database and Redis a command works on: those that are configured, else those of the running instance."""

from pathlib import Path

from pydantic import SecretStr

from tickstock_pipeline.errors import ServiceError
from tickstock_pipeline.runtime.instance import RunningServices, is_running, read_running_services
from tickstock_pipeline.settings import Settings


def attached_settings(settings: Settings) -> Settings:
    """``settings`` with the URLs that they leave open filled in from the instance that runs in ``settings.home``.

    Returns
    -------
    Settings with a ``database_url``; ``redis_url`` stays open where only a database is configured and nothing runs.

    Raises
    ------
    ServiceError
        If no database is configured and nothing runs, or another user's instance runs.
    """
    home = settings.home.absolute()
    attached = with_running_services(settings, find_running_services(home))
    if attached.database_url is not None:
        return attached
    if is_running(home):
        raise ServiceError(
            f"Tickstock is starting in {home}: its database does not answer yet.", advice="Try again in a moment."
        )
    raise ServiceError(
        f"Nothing runs in {home}, and TICKSTOCK_DATABASE_URL is not set.",
        advice="Start everything with `tickstock up`. If it runs from another folder, go there or set TICKSTOCK_HOME; "
        "to use servers of your own, set TICKSTOCK_DATABASE_URL and TICKSTOCK_REDIS_URL.",
    )


def find_running_services(home: Path) -> RunningServices | None:
    """The instance that runs in ``home``, or None.

    Raises
    ------
    ServiceError
        If the files there belong to another user.
    """
    try:
        return read_running_services(home)
    except NotADirectoryError:
        return None
    except PermissionError:
        raise ServiceError(
            f"The state directory {home} belongs to another user.",
            advice="Run the command as the user who runs `tickstock up`, or set TICKSTOCK_HOME to a folder of yours.",
        ) from None


def with_running_services(settings: Settings, running: RunningServices | None) -> Settings:
    """``settings`` with the URLs that they leave open taken from ``running``; what is configured wins."""
    if running is None:
        return settings
    found = {"database_url": running.database_url, "redis_url": running.redis_url}
    return settings.model_copy(
        update={name: SecretStr(url) for name, url in found.items() if getattr(settings, name) is None}
    )
