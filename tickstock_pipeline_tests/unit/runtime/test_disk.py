"""A full disk is told from other reasons."""

from pathlib import Path

import pytest

from tickstock_pipeline.errors import DiskFullError
from tickstock_pipeline.runtime.disk import disk_full_in, require_free_space


def test_too_little_space_is_an_error_with_both_numbers(tmp_path: Path) -> None:
    with pytest.raises(DiskFullError, match=r"Only \d+ MB are free .* 1000000000 MB are needed") as caught:
        require_free_space(tmp_path, required_bytes=1_000_000_000 * 1024**2)

    assert "TICKSTOCK_HOME" in caught.value.advice


def test_enough_space_is_no_error(tmp_path: Path) -> None:
    require_free_space(tmp_path, required_bytes=1)


@pytest.mark.parametrize(
    "line",
    [
        'FATAL:  could not write lock file "postmaster.pid": No space left on device',
        "12:M 01 Jan 2026 # Error writing to the append only file: No space left on device",
        'PANIC:  could not write to file "pg_wal/xlogtemp.7": Disk quota exceeded',
    ],
)
def test_a_servers_complaint_about_a_full_disk_is_recognised(line: str, tmp_path: Path) -> None:
    error = disk_full_in(["LOG:  starting", line], tmp_path)

    assert error is not None
    assert str(tmp_path) in error.message


def test_another_complaint_is_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    assert disk_full_in(["FATAL:  could not bind IPv4 address"], tmp_path) is None
