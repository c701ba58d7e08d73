"""Small files in the state directory that hold secrets or are read while they change: owner-only, replaced whole."""

import os
import secrets
from pathlib import Path


def write_private_file(path: Path, text: str) -> None:
    """Replace ``path`` by ``text``, mode 0600; a reader sees the old or the new content, also after a power cut."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)


def read_or_create_secret(path: Path) -> str:
    """The password kept in ``path``; a random one of URL-safe characters is made the first time."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        secret = secrets.token_urlsafe(24)
        write_private_file(path, secret)
        return secret
