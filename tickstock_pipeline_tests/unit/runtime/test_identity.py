"""As whom servers run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tickstock_pipeline.errors import ServiceError
from tickstock_pipeline.runtime.identity import SAME_USER, Identity, IdentityMethod, server_identity

IS_ROOT = os.geteuid() == 0


def uid_seen_by_a_child(identity: Identity) -> int:
    return int(subprocess.check_output(identity.launch_command(["/usr/bin/env", "id", "-u"])))


def test_the_found_identity_is_not_root() -> None:
    assert uid_seen_by_a_child(server_identity(Path("/usr/bin/env"))) != 0


def test_an_ordinary_user_stays_the_same_and_root_does_not() -> None:
    method = server_identity(Path("/usr/bin/env")).method

    assert (method is IdentityMethod.SAME) == (not IS_ROOT)


def test_the_same_user_is_seen_as_the_same_user() -> None:
    assert uid_seen_by_a_child(SAME_USER) == os.geteuid()


def test_files_belong_to_the_user_that_the_file_system_sees() -> None:
    namespace = Identity(IdentityMethod.NAMESPACE, 4242, 4242)
    switch = Identity(IdentityMethod.SWITCH, 4242, 4242)

    assert namespace.file_owner == (os.geteuid(), os.getegid())
    assert switch.file_owner == (4242, 4242)


def test_a_program_that_nobody_can_run_is_an_error_that_says_what_was_tried(tmp_path: Path) -> None:
    with pytest.raises(ServiceError) as caught:
        server_identity(tmp_path / "missing", IdentityMethod.SWITCH)

    assert "switch (user" in caught.value.message
    assert "TICKSTOCK_DATABASE_URL" in caught.value.advice


def test_a_child_whose_parent_has_gone_does_not_start(tmp_path: Path) -> None:
    command = SAME_USER.launch_command(["/usr/bin/env", "touch", tmp_path / "started"])
    command[command.index(str(os.getpid()))] = str(os.getppid())

    assert subprocess.run(command, check=False).returncode != 0
    assert not (tmp_path / "started").exists()


def test_the_launcher_needs_nothing_but_the_standard_library() -> None:
    launcher = SAME_USER.launch_command(["true"])[3]
    code = f"import sys; sys.argv = ['x']; exec(open({launcher!r}).read().split('if __name__')[0]); print('ok')"

    assert subprocess.check_output([sys.executable, "-I", "-S", "-c", code], text=True) == "ok\n"
