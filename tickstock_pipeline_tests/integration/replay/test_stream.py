"""Polygon's WebSocket, with Massive's own client and a plain one."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import numpy as np
import pytest
import websockets
from massive.exceptions import AuthError
from websockets.exceptions import ConnectionClosed, ConnectionClosedError

from tickstock_pipeline.errors import ServiceError
from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.replay.server import ReplayServer
from tickstock_pipeline.replay.source import MemorySource
from tickstock_pipeline_tests.integration.replay.listening import listening

FIRST_MINUTE = 1_132_756_200_000  # 2005-11-23T09:30-05:00


@pytest.fixture
def server(source: MemorySource) -> Iterator[ReplayServer]:
    with ReplayServer(source) as running:
        yield running


def minutes(n: int, symbol: str = "IBM") -> Bars:
    time = np.datetime64("2005-11-23T14:30", "us") + np.arange(n) * np.timedelta64(1, "m")
    close = 80.0 + np.arange(n)
    return Bars(symbol, Timeframe.MINUTE, time, close, close + 1, close - 1, close, np.full(n, 500))


@asynccontextmanager
async def plain(server: ReplayServer, key: str = "key", **options: Any) -> AsyncIterator[websockets.ClientConnection]:
    """A client of no particular kind that has shown its key."""
    async with websockets.connect(f"{server.websocket_url}/stocks", **options) as connection:
        assert json.loads(await connection.recv()) == [
            {"ev": "status", "status": "connected", "message": "Connected Successfully"}
        ]
        await connection.send(json.dumps({"action": "auth", "params": key}))
        await connection.recv()
        yield connection


async def say(connection: websockets.ClientConnection, action: str, params: str) -> list[dict[str, str]]:
    await connection.send(json.dumps({"action": action, "params": params}))
    answer: list[dict[str, str]] = json.loads(await connection.recv())
    return answer


def test_a_minute_arrives_as_the_official_client_reads_it(server: ReplayServer) -> None:
    with listening(server, "AM.IBM") as listener:
        server.stream.send_minutes(minutes(2))
        second = listener.wait_for(2)[1]

    assert (second.event_type, second.symbol) == ("AM", "IBM")
    assert (second.open, second.high, second.low, second.close) == (81.0, 82.0, 80.0, 81.0)
    assert (second.volume, second.accumulated_volume, second.official_open_price) == (500, 1_000, 80.0)
    assert (second.start_timestamp, second.end_timestamp) == (FIRST_MINUTE + 60_000, FIRST_MINUTE + 120_000)


def test_only_what_was_subscribed_to_arrives(server: ReplayServer) -> None:
    with listening(server, "AM.AAPL", "T.*") as listener:
        server.stream.send_minutes(minutes(1, "IBM"))
        server.stream.send([{"ev": "T", "sym": "IBM", "p": 1.5, "s": 10, "t": FIRST_MINUTE}])
        server.stream.send([{"ev": "Q", "sym": "AAPL", "bp": 1.4, "ap": 1.5, "t": FIRST_MINUTE}])
        server.stream.send_minutes(minutes(1, "AAPL"))
        heard = listener.wait_for(2)

    assert [(event.event_type, event.symbol) for event in heard] == [("T", "IBM"), ("AM", "AAPL")]


def test_subscriptions_change_without_a_new_connection(server: ReplayServer) -> None:
    async def scenario() -> list[str]:
        async with plain(server) as connection:
            assert await say(connection, "subscribe", "AM.IBM,AM.AAPL") == [
                {"ev": "status", "status": "success", "message": "subscribed to: AM.IBM"},
                {"ev": "status", "status": "success", "message": "subscribed to: AM.AAPL"},
            ]
            assert (await say(connection, "unsubscribe", "AM.IBM"))[0]["message"] == "unsubscribed to: AM.IBM"
            await asyncio.to_thread(server.stream.send_minutes, minutes(1, "IBM"))
            await asyncio.to_thread(server.stream.send_minutes, minutes(1, "AAPL"))
            return [event["sym"] for event in json.loads(await connection.recv())]

    assert asyncio.run(scenario()) == ["AAPL"]


def test_a_thousand_events_come_in_frames_of_five_hundred(server: ReplayServer) -> None:
    async def scenario() -> list[int]:
        async with plain(server) as connection:
            await say(connection, "subscribe", "AM.*")
            await asyncio.to_thread(server.stream.send_minutes, minutes(1_000))
            return [len(json.loads(await connection.recv())) for _ in range(2)]

    assert asyncio.run(scenario()) == [500, 500]


def test_a_wrong_key_is_refused(source: MemorySource) -> None:
    with ReplayServer(source, api_key="the key") as server:
        with listening(server, key="another") as listener:
            assert isinstance(listener.wait_for_end(), AuthError)
        with listening(server, "AM.*", key="the key"):
            assert server.stream.n_clients == 1


@pytest.mark.parametrize(
    ("message", "status"),
    [
        ('{"action": "subscribe", "params": "AM.IBM"}', "auth_required"),
        ("not json", "error"),
        ("[]", "error"),
        ('{"action": "auth"}', "auth_failed"),
    ],
)
def test_a_client_that_errs_is_told_so(server: ReplayServer, message: str, status: str) -> None:
    async def scenario() -> str:
        async with websockets.connect(f"{server.websocket_url}/stocks") as connection:
            await connection.recv()
            await connection.send(message)
            answer: str = json.loads(await connection.recv())[0]["status"]
            return answer

    assert asyncio.run(scenario()) == status


def test_an_unknown_topic_is_an_error_of_its_own(server: ReplayServer) -> None:
    async def scenario() -> list[str]:
        async with plain(server) as connection:
            return [status["status"] for status in await say(connection, "subscribe", "AM.IBM,XX.IBM,AM")]

    assert asyncio.run(scenario()) == ["success", "error", "error"]


@pytest.mark.parametrize("code", [1000, 1001])
def test_a_close_frame_ends_the_official_client_without_an_error(server: ReplayServer, code: int) -> None:
    with listening(server, "AM.*") as listener:
        server.stream.disrupt(f"close-{code}")

        assert listener.wait_for_end() is None


def test_a_cut_is_an_error_of_the_connection(server: ReplayServer) -> None:
    with listening(server, "AM.*", max_reconnects=0) as listener:
        server.stream.disrupt("cut")
        error = listener.wait_for_end()

    assert isinstance(error, ConnectionClosedError)
    assert error.rcvd is None


@pytest.mark.parametrize(("kind", "error"), [("not-json", ValueError), ("no-message", KeyError)])
def test_the_official_client_dies_of_frames_that_it_does_not_expect(
    server: ReplayServer, kind: str, error: type[Exception]
) -> None:
    with listening(server, "AM.*") as listener:
        server.stream.disrupt(kind)

        assert isinstance(listener.wait_for_end(), error)


def test_a_frame_over_one_mebibyte_needs_a_client_that_takes_it(server: ReplayServer) -> None:
    async def received(**options: Any) -> int:
        async with plain(server, **options) as connection:
            await asyncio.to_thread(server.stream.disrupt, "huge-frame")
            return len(await connection.recv())

    assert asyncio.run(received(max_size=None)) > 2**20
    with pytest.raises(ConnectionClosed, match="1009"):
        asyncio.run(received())


def test_a_mute_socket_stays_open_and_says_nothing(server: ReplayServer) -> None:
    async def scenario() -> None:
        async with plain(server) as connection:
            await say(connection, "subscribe", "AM.*")
            await asyncio.to_thread(server.stream.disrupt, "mute")
            await asyncio.to_thread(server.stream.send_minutes, minutes(1))
            # its answer to a ping follows whatever was sent before it
            await (await connection.ping())
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(connection.recv(), 0.05)

    asyncio.run(scenario())
    with listening(server, "AM.*") as listener:
        server.stream.send_minutes(minutes(1))
        assert listener.wait_for(1)


def test_a_planned_fault_happens_to_the_nth_frame(server: ReplayServer) -> None:
    server.faults.add("close-1001", provider="stream", nth=3)
    with listening(server, "AM.*") as listener:
        for number in range(3):
            server.stream.send_minutes(minutes(5)[number : number + 1])
        assert listener.wait_for_end() is None

    assert len(listener.events) == 2


def test_the_official_client_reconnects_after_a_cut_and_subscribes_again(server: ReplayServer) -> None:
    with listening(server, "AM.*") as listener:
        server.stream.disrupt("cut")
        for _ in range(200):
            server.stream.send_minutes(minutes(1))
            if listener.has_heard(0.05):
                break

    assert listener.events


def test_disruptions_can_be_asked_for_over_http(server: ReplayServer) -> None:
    url = f"{server.url}/_replay/stream"
    with listening(server, "AM.*") as listener:
        assert httpx.get(url).json() == {"clients": 1, "sent": 0}
        assert httpx.post(url, json={"kind": "close-1001"}).status_code == 200
        assert listener.wait_for_end() is None
    assert httpx.post(url, json={"kind": "earthquake"}).status_code == 400


def test_a_server_that_does_not_run_has_no_stream(source: MemorySource) -> None:
    server = ReplayServer(source)

    with pytest.raises(ServiceError):
        server.stream.send_minutes(minutes(1))
