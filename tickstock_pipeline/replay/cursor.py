"""Polygon's cursors: the parameters of the next page, made opaque."""

import base64
import binascii
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode


def encoded(parameters: Mapping[str, str]) -> str:
    """A cursor that carries the parameters."""
    return base64.urlsafe_b64encode(urlencode(parameters).encode()).decode().rstrip("=")


def decoded(cursor: str) -> dict[str, str]:
    """The parameters of a cursor; nothing where the text is not one."""
    try:
        return dict(parse_qsl(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()))
    except (binascii.Error, UnicodeDecodeError):
        return {}
