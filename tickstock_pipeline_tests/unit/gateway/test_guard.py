"""Who may speak to the gateway, for each place that it listens on."""

import asyncio

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from tickstock_pipeline.gateway.guard import Guard

TOKEN = "secret"


def status(called: str, *, host: str, token: str | None = None, names: tuple[str, ...] = (), **headers: str) -> int:
    def answer(_: Request) -> PlainTextResponse:
        return PlainTextResponse("")

    app = Guard(Starlette(routes=[Route("/jobs", answer)]), host=host, token=token, names=names)

    async def ask() -> int:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
            return (await client.get("/jobs", headers={"Host": called, **headers})).status_code

    return asyncio.run(ask())


@pytest.mark.parametrize("called", ["127.0.0.1:8080", "localhost:8080", "[::1]:8080", "LOCALHOST", "127.9.9.9"])
def test_local_names_are_answered_to(called: str) -> None:
    assert status(called, host="127.0.0.1") == 200


@pytest.mark.parametrize(
    "called", ["", "evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.5"]
)
def test_a_name_that_somebody_has_pointed_here_is_not(called: str) -> None:
    assert status(called, host="127.0.0.1") == 403
    assert status(called, host="127.0.0.1", names=("ticks.example",)) == 403


def test_further_names_are_answered_to_where_the_settings_list_them() -> None:
    assert status("Ticks.Example:443", host="127.0.0.1", names=("ticks.example",)) == 200
    assert status("ticks.example", host="127.0.0.1", names=("ticks.example",), Origin="https://ticks.example") == 200
    assert status("ticks.example", host="127.0.0.1", names=("ticks.example",), Origin="https://evil.example") == 403


def test_beyond_this_machine_the_token_decides_and_names_only_where_they_are_listed() -> None:
    right = {"Authorization": f"Bearer {TOKEN}"}

    assert status("ticks.example", host="0.0.0.0", token=TOKEN) == 401  # noqa: S104
    assert status("ticks.example", host="0.0.0.0", token=TOKEN, **right) == 200  # noqa: S104
    assert status("other.example", host="0.0.0.0", token=TOKEN, names=("ticks.example",), **right) == 403  # noqa: S104
    assert status("localhost", host="0.0.0.0", token=TOKEN, names=("ticks.example",), **right) == 200  # noqa: S104
