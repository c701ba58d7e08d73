"""Instants between numpy's ``datetime64[us]``, which is UTC without saying so, and the driver's aware datetimes."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray


def aware(time: np.datetime64 | None) -> datetime | None:
    """A numpy instant as the driver takes it; None stays None."""
    return None if time is None else aware_all(np.asarray([time]))[0]


def aware_all(time: NDArray[Any]) -> list[datetime]:
    """Numpy instants, (n,) ``datetime64``, as the driver takes them."""
    naive: list[datetime] = time.astype("datetime64[us]").tolist()
    return [moment.replace(tzinfo=UTC) for moment in naive]


def plain(time: datetime) -> np.datetime64:
    """An instant of the driver's as numpy holds it."""
    return np.datetime64(time.astimezone(UTC).replace(tzinfo=None), "us")
