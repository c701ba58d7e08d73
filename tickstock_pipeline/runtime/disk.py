"""Free space: asked for before a database starts, and recognised in a server's log when it ran out."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from tickstock_pipeline.errors import DiskFullError

REQUIRED_FREE_BYTES = 500 * 1024**2
"""What an empty cluster, its first WAL segments and a small import take, with room to stop cleanly."""

_ADVICE = "Free some space there, or set TICKSTOCK_HOME to a folder on a larger disk."


def require_free_space(folder: Path, *, required_bytes: int = REQUIRED_FREE_BYTES) -> None:
    """Check the file system of ``folder``, which must exist.

    Raises
    ------
    DiskFullError
        Says how much is free and how much is needed.
    """
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < required_bytes:
        raise DiskFullError(
            f"Only {free_bytes // 1024**2} MB are free at {folder}; {required_bytes // 1024**2} MB are needed.",
            advice=_ADVICE,
        )


def disk_full_in(log_lines: Iterable[str], folder: Path) -> DiskFullError | None:
    """The error to raise if a server's log says that its disk, or the user's quota on it, is full."""
    for line in log_lines:
        if "No space left on device" in line or "Disk quota exceeded" in line:
            return DiskFullError(f"The disk of {folder} is full: {line.strip()}", advice=_ADVICE)
    return None
