"""First code of every child process: decide as whom it runs and that it ends with its parent, then become it.

A program of its own, started by path with ``python -I -S``: nothing but the standard library is on its import path, and
it starts in some 15 ms. It replaces a ``preexec_fn``, which is unsafe in a process with threads.

Arguments: parent's pid, signal at the parent's death, method (``same``, ``namespace``, ``switch``), uid, gid, command.

1. ``namespace``: enter a user namespace that maps us to ``uid``. The system still sees the same user.
   ``switch``: become ``uid`` for good.
2. Linux: ask for the signal when the parent ends. Last, since both of the above clear it; ``execve`` keeps it.
3. If the parent ended before step 2 there is nobody left to serve.
4. Take signals as they come: a script that starts us in the background has SIGINT ignored, which ``execve`` keeps, and
   Dagster's code server would treat SIGTERM like it.
5. Become the command.
"""

import ctypes
import os
import signal
import sys

EXIT_REFUSED = 125
"""Exit status when the system refuses the wanted identity; the reason is on stderr."""

_CLONE_NEWUSER = 0x10000000
_PR_SET_PDEATHSIG = 1


def enter_user_namespace(uid: int, gid: int) -> None:
    """Be ``uid`` in a new user namespace whose only member is the present user.

    Raises
    ------
    OSError
        If the kernel, a container's seccomp profile or a limit refuses it.
    """
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "unshare"):
        raise OSError("this system has no user namespaces")
    if libc.unshare(_CLONE_NEWUSER) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    # The kernel wants setgroups denied before a gid map may be written without privilege in the outer namespace.
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{uid} {outer_uid} 1"),
        ("gid_map", f"{gid} {outer_gid} 1"),
    ):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)


def switch_user(uid: int, gid: int) -> None:
    """Be ``uid`` and nothing else, irrevocably."""
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def end_with_parent(parent: int, signal_number: int) -> None:
    """Receive ``signal_number`` when the thread that forked us ends (Linux; elsewhere nothing)."""
    if sys.platform == "linux" and signal_number:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit(EXIT_REFUSED)


def main(arguments: list[str]) -> None:
    """Steps 1 to 5; returns only by ending the process or becoming another program."""
    parent, signal_number, method, uid, gid, *command = arguments
    try:
        if method == "namespace":
            enter_user_namespace(int(uid), int(gid))
        elif method == "switch":
            switch_user(int(uid), int(gid))
    except OSError as error:
        print(f"cannot run as user {uid} by {method}: {error}", file=sys.stderr)
        raise SystemExit(EXIT_REFUSED) from None
    end_with_parent(int(parent), int(signal_number))
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)  # noqa: S606 - the command is our own, and there is no shell
    except OSError as error:
        print(f"cannot run {command[0]}: {error}", file=sys.stderr)
        raise SystemExit(127) from None


if __name__ == "__main__":
    main(sys.argv[1:])
