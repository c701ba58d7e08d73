"""Files with secrets."""

import stat
from pathlib import Path

from tickstock_pipeline.runtime.private_files import read_or_create_secret, write_private_file


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    write_private_file(tmp_path / "secret", "x")

    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600


def test_replacing_leaves_nothing_else_behind(tmp_path: Path) -> None:
    write_private_file(tmp_path / "secret", "a longer text")
    write_private_file(tmp_path / "secret", "short")

    assert [path.name for path in tmp_path.iterdir()] == ["secret"]
    assert (tmp_path / "secret").read_text(encoding="utf-8") == "short"


def test_a_secret_is_made_once_and_kept(tmp_path: Path) -> None:
    first = read_or_create_secret(tmp_path / "password")

    assert len(first) >= 32
    assert read_or_create_secret(tmp_path / "password") == first


def test_two_secrets_differ(tmp_path: Path) -> None:
    assert read_or_create_secret(tmp_path / "a") != read_or_create_secret(tmp_path / "b")
