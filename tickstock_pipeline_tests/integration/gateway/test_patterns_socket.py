"""``/patterns/realtime`` with real clients: what they get, in which order, and what they cannot do to each other."""

import base64
import itertools
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
import redis
from pydantic import SecretStr
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tickstock_pipeline.gateway.patterns_socket import SocketLimits
from tickstock_pipeline.gateway.server import CuttingProtocol
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.settings import Settings
from tickstock_pipeline_tests.integration.gateway.serving import (
    Gateway,
    event,
    numbers,
    publish,
    publish_both,
    received,
    received_events,
    retraction,
    serving,
    stuck_client,
    subscribe,
    subscribed,
)


@pytest.fixture
def client(redis_url: str) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(redis_url) as found:
        yield found


@pytest.fixture(scope="module")
def shared_gateway(_databases: Any, _migrated_template: str, _redis_server_url: str) -> Iterator[Gateway]:
    """One gateway for the tests that leave its settings and its counters alone."""
    with _databases.temporary(_migrated_template) as database_url:
        settings = Settings.load(
            _env_file=None, database_url=SecretStr(database_url), redis_url=SecretStr(_redis_server_url)
        )
        with serving(settings) as found:
            yield found


@pytest.fixture
def shared_client(_redis_server_url: str) -> Iterator["redis.Redis"]:
    """A client of the shared gateway's Redis, which is not emptied."""
    with redis.Redis.from_url(_redis_server_url) as found:
        yield found


@pytest.fixture
def gateway(settings: Settings) -> Iterator[Gateway]:
    with serving(settings) as found:
        yield found


def test_a_subscriber_gets_events_as_published_and_their_id(
    shared_gateway: Gateway, shared_client: "redis.Redis"
) -> None:
    payload = event("AAPL")
    with subscribed(shared_gateway, symbols=["AAPL"]) as subscriber:
        [event_id] = publish(shared_client, [payload])

        message = received(subscriber)

    assert message["data"].pop("event_id") == event_id
    assert message == json.loads(payload)


def test_a_subscription_without_request_id_is_answered_by_nothing_but_events(
    shared_gateway: Gateway, shared_client: "redis.Redis"
) -> None:
    with connect(shared_gateway.socket_url) as subscriber:
        subscriber.send('{"action": "subscribe", "symbols": ["AAPL"]}')
        subscriber.send('{"action": "ping"}')
        assert received(subscriber)["event_type"] == "pong"
        publish(shared_client, [event("AAPL")])

        assert received(subscriber)["event_type"] == "pattern_detected"


def test_filters_let_through_what_was_asked_for(shared_gateway: Gateway, shared_client: "redis.Redis") -> None:
    wanted = {"symbols": ["AAPL", "MSFT"], "patterns": ["doji"], "timeframes": ["1min"], "min_confidence": 0.5}
    with subscribed(shared_gateway, **wanted) as subscriber:
        publish(
            shared_client,
            [
                event("AAPL", 0, pattern="doji", confidence=0.49),
                event("AAPL", 1, pattern="hammer", confidence=0.9),
                event("GOOG", 2, pattern="doji", confidence=0.9),
                event("MSFT", 3, pattern="doji", confidence=0.5),
            ],
        )

        assert numbers(received_events(subscriber, 1)) == [3]


def test_unsubscribing_ends_the_events_of_a_symbol(shared_gateway: Gateway, shared_client: "redis.Redis") -> None:
    with subscribed(shared_gateway, symbols=["AAPL", "MSFT"]) as subscriber:
        subscriber.send('{"action": "unsubscribe", "symbols": ["aapl"], "request_id": "second"}')
        assert received(subscriber)["data"]["symbols"] == 1
        publish(shared_client, [event("AAPL", 0), event("MSFT", 1)])

        assert numbers(received_events(subscriber, 1)) == [1]


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        ("{", "the message is not JSON"),
        ("[]", "the message is not a JSON object"),
        ("[" * 20_000, "the message is nested too deeply"),
        ('{"action": "subscribe", "action": "ping"}', "'action' comes more than once"),
        ('{"symbols": ["AAPL"]}', "action is none of subscribe, unsubscribe, ping"),
        ('{"action": ["subscribe"], "symbols": ["AAPL"]}', "action is none of subscribe, unsubscribe, ping"),
        ('{"action": "subscribe"}', "symbols is missing"),
        ('{"action": "subscribe", "symbols": "AAPL"}', "symbols is not a list of texts"),
        ('{"action": "subscribe", "symbols": []}', "symbols is not a list of texts"),
        ('{"action": "subscribe", "symbols": [["AAPL"]]}', "symbols is not a list of texts"),
        ('{"action": "subscribe", "symbols": ["A B"]}', "'A B' is not a symbol"),
        ('{"action": "subscribe", "symbols": ["*"], "timeframes": ["5min"]}', "timeframes are of 1min, hourly"),
        ('{"action": "subscribe", "symbols": ["*"], "min_confidence": NaN}', "min_confidence is not a number"),
        ('{"action": "subscribe", "symbols": ["*"], "min_confidence": true}', "min_confidence is not a number"),
        ('{"action": "subscribe", "symbols": ["*"], "retractions": 1}', "retractions is neither true nor false"),
        (
            '{"action": "subscribe", "symbols": ["*"], "min_confidence": 1' + "0" * 400 + "}",
            "min_confidence is not a number",
        ),
        ('{"action": "subscribe", "symbols": ["*"], "last_event_id": "yesterday"}', "last_event_id is not"),
        ('{"action": "subscribe", "symbols": ["*"], "last_event_id": "99999999999999999999-0"}', "last_event_id is"),
        ('{"action": "ping", "request_id": 7}', "request_id is not a text"),
        (b"\x00", "the message is not text"),
    ],
)
def test_a_wrong_message_is_answered_with_an_error_and_changes_nothing(
    shared_gateway: Gateway, message: str | bytes, problem: str
) -> None:
    with subscribed(shared_gateway, symbols=["AAPL"]) as subscriber:
        subscriber.send(message)

        answer = received(subscriber)
        assert answer["event_type"] == "error"
        assert answer["data"]["message"].startswith(problem)
        subscriber.send('{"action": "ping"}')
        assert received(subscriber)["data"]["symbols"] == 1


def test_a_message_that_is_too_large_ends_the_connection(shared_gateway: Gateway) -> None:
    with connect(shared_gateway.socket_url) as subscriber:
        subscriber.send(" " * 70_000)

        with pytest.raises(ConnectionClosed) as ended:
            subscriber.recv(timeout=20)
    assert ended.value.rcvd is not None
    assert ended.value.rcvd.code == 1009


def test_too_many_symbols_are_refused(shared_gateway: Gateway) -> None:
    with connect(shared_gateway.socket_url) as subscriber:
        for start in range(0, 5_000, 1_000):
            symbols = [f"S{number}" for number in range(start, start + 1_000)]
            subscribe(subscriber, symbols=symbols)
        subscriber.send('{"action": "subscribe", "symbols": ["ONE"]}')

        answer = received(subscriber)
        assert answer["data"] == {"message": "more than 5000 symbols", "advice": 'Subscribe to ["*"].'}


def test_a_page_of_another_site_is_refused(shared_gateway: Gateway) -> None:
    with pytest.raises(InvalidStatus) as refused:
        connect(shared_gateway.socket_url, origin="https://evil.example")  # type: ignore[arg-type]

    assert refused.value.response.status_code == 403


def test_a_page_of_its_own_is_let_in(shared_gateway: Gateway) -> None:
    with connect(shared_gateway.socket_url, origin=str(shared_gateway.http.base_url)) as subscriber:  # type: ignore[arg-type]
        subscribe(subscriber)


def test_the_token_is_asked_for_where_there_is_one(settings: Settings) -> None:
    secret = "t0ken/with+signs"
    encoded = base64.urlsafe_b64encode(secret.encode()).decode().rstrip("=")
    with serving(settings.model_copy(update={"gateway_token": SecretStr(secret)})) as gateway:
        for wrong in ({}, {"additional_headers": {"Authorization": "Bearer wrong"}}, {"subprotocols": ["bearer.!"]}):
            with pytest.raises(InvalidStatus):
                connect(gateway.socket_url, **wrong)  # type: ignore[arg-type]
        with connect(gateway.socket_url, additional_headers={"Authorization": f"Bearer {secret}"}) as subscriber:
            subscribe(subscriber)
        with connect(gateway.socket_url, subprotocols=["tickstock", f"bearer.{encoded}"]) as page:  # type: ignore[list-item]
            subscribe(page)
            assert page.subprotocol == "tickstock"


def test_one_client_too_many_is_told_to_come_later(settings: Settings) -> None:
    with serving(settings, SocketLimits(clients=1)) as gateway, subscribed(gateway):
        with connect(gateway.socket_url) as second, pytest.raises(ConnectionClosed) as ended:
            second.recv(timeout=20)
        assert ended.value.rcvd is not None
        assert (ended.value.rcvd.code, ended.value.rcvd.reason) == (1013, "too many clients")


def test_resuming_gives_each_missed_event_once_and_goes_on_with_new_ones(
    shared_gateway: Gateway, shared_client: "redis.Redis"
) -> None:
    with subscribed(shared_gateway, symbols=["AAPL"]) as subscriber:
        publish(shared_client, [event("AAPL", number) for number in range(3)])
        last_event_id = received_events(subscriber, 3)[-1]["data"]["event_id"]
    publish(shared_client, [event("AAPL", number) for number in range(3, 500)])
    going_on = threading.Thread(
        target=lambda: [publish(shared_client, [event("AAPL", number)]) for number in range(500, 700)]
    )
    going_on.start()

    with connect(shared_gateway.socket_url) as again:
        again.send(json.dumps({"action": "subscribe", "symbols": ["AAPL"], "last_event_id": last_event_id}))
        found = numbers(received_events(again, 697))
    going_on.join()

    assert found == list(range(3, 700))


def kinds(messages: list[dict[str, Any]]) -> list[tuple[str, int]]:
    """What each message is, and of which minute."""
    return list(zip((one["event_type"] for one in messages), numbers(messages), strict=True))


def test_retractions_come_to_those_who_ask_for_them_in_the_order_of_all_events(
    gateway: Gateway, redis_url: str
) -> None:
    payloads = [
        event("AAPL", 0),
        retraction("AAPL", 0),
        event("AAPL", 0, revision=2),
        retraction("MSFT", 1, timeframe=Timeframe.HOURLY),
        retraction("AAPL", 2, pattern="doji"),
        event("AAPL", 3),
    ]
    with (
        subscribed(gateway, symbols=["AAPL"], patterns=["engulfing"], retractions=True) as asking,
        subscribed(gateway, symbols=["*"]) as simple,
        subscribed(gateway, symbols=["*"], retractions=True, timeframes=["hourly"]) as hourly,
    ):
        publish_both(redis_url, payloads)

        found = received_events(asking, 4)
        assert kinds(found) == [
            ("pattern_detected", 0),
            ("pattern_retracted", 0),
            ("pattern_detected", 0),
            ("pattern_detected", 3),
        ]
        assert found[0]["data"]["flow_id"] == found[1]["data"]["flow_id"] != found[2]["data"]["flow_id"]
        assert found[1]["data"]["reason"] == "a bar was corrected"
        assert [kind for kind, _ in kinds(received_events(simple, 3))] == ["pattern_detected"] * 3
        assert kinds(received_events(hourly, 1)) == [("pattern_retracted", 1)]


def test_a_retraction_takes_back_what_is_less_sure_by_now_than_the_client_asks_for(
    gateway: Gateway, redis_url: str
) -> None:
    with subscribed(gateway, symbols=["AAPL"], min_confidence=0.9, retractions=True) as subscriber:
        publish_both(redis_url, [event("AAPL", 0, confidence=0.5), retraction("AAPL", 1, confidence=0.5)])

        assert kinds(received_events(subscriber, 1)) == [("pattern_retracted", 1)]


def test_resuming_at_an_event_or_a_retraction_gives_all_later_ones_of_both_once(
    gateway: Gateway, redis_url: str
) -> None:
    payloads = [retraction(number=number) if number % 2 else event(number=number) for number in range(300)]
    with subscribed(gateway, retractions=True) as subscriber:
        publish_both(redis_url, payloads)
        seen = received_events(subscriber, 300)
    assert numbers(seen) == list(range(300))
    assert gateway.metric('tickstock_retractions_total{pattern="engulfing",timeframe="1min"}') == 150

    for more, at in enumerate((0, 1, 150, 299)):
        with connect(gateway.socket_url) as again:
            last_event_id = seen[at]["data"]["event_id"]
            request = {"action": "subscribe", "symbols": ["*"], "retractions": True, "last_event_id": last_event_id}
            again.send(json.dumps(request))
            publish_both(redis_url, [event(number=300 + more)])
            assert numbers(received_events(again, 300 + more - at)) == list(range(at + 1, 301 + more))


def test_a_client_learns_that_retractions_are_gone(gateway: Gateway, client: "redis.Redis", redis_url: str) -> None:
    with subscribed(gateway, retractions=True) as subscriber:
        publish_both(redis_url, [event(number=0), retraction(number=0), retraction(number=1), event(number=1)])
        seen = received_events(subscriber, 4)
    client.xtrim("tickstock:patterns:retracted", maxlen=1, approximate=False)
    with connect(gateway.socket_url) as again:
        last_event_id = seen[0]["data"]["event_id"]
        again.send(json.dumps({"action": "subscribe", "symbols": ["*"], "last_event_id": last_event_id}))

        assert received(again)["event_type"] == "events_missing"


def test_a_restarted_gateway_gives_a_client_what_it_has_missed(settings: Settings, client: "redis.Redis") -> None:
    with serving(settings) as gateway, subscribed(gateway) as subscriber:
        publish(client, [event(number=0)])
        last_event_id = received_events(subscriber, 1)[0]["data"]["event_id"]
    publish(client, [event(number=1)])
    with serving(settings) as gateway, connect(gateway.socket_url) as subscriber:
        subscriber.send(json.dumps({"action": "subscribe", "symbols": ["*"], "last_event_id": last_event_id}))
        assert numbers(received_events(subscriber, 1)) == [1]
        publish(client, [event(number=2)])
        assert numbers(received_events(subscriber, 1)) == [2]


def test_a_client_learns_that_events_are_gone(shared_gateway: Gateway, shared_client: "redis.Redis") -> None:
    ids = publish(shared_client, [event(number=number) for number in range(5)])
    shared_client.xtrim("pattern_events", maxlen=2, approximate=False)
    with connect(shared_gateway.socket_url) as subscriber:
        subscriber.send(json.dumps({"action": "subscribe", "symbols": ["*"], "last_event_id": ids[0]}))

        missing = received(subscriber)
        assert missing["event_type"] == "events_missing"
        assert missing["data"] == {"last_event_id": ids[0], "continues_at": ids[3]}
        assert numbers(received_events(subscriber, 2)) == [3, 4]


@pytest.mark.parametrize("last", [0, 1])
def test_nothing_is_said_to_be_gone_where_nothing_is(
    shared_gateway: Gateway, shared_client: "redis.Redis", last: int
) -> None:
    ids = publish(shared_client, [event(number=number) for number in range(3)])
    shared_client.xtrim("pattern_events", minid=ids[last], approximate=False)
    with connect(shared_gateway.socket_url) as subscriber:
        subscriber.send(json.dumps({"action": "subscribe", "symbols": ["*"], "last_event_id": ids[last]}))

        assert numbers(received_events(subscriber, 2 - last)) == list(range(last + 1, 3))


def test_an_id_from_the_future_does_not_silence_a_client(shared_gateway: Gateway, shared_client: "redis.Redis") -> None:
    publish(shared_client, [event(number=0)])
    with connect(shared_gateway.socket_url) as subscriber:
        subscriber.send('{"action": "subscribe", "symbols": ["*"], "last_event_id": "9999999999999-0"}')
        assert received(subscriber)["event_type"] == "events_missing"
        publish(shared_client, [event(number=1)])

        assert numbers(received_events(subscriber, 1)) == [1]


def test_nothing_is_lost_or_doubled_when_the_connection_to_redis_breaks(
    gateway: Gateway, client: "redis.Redis"
) -> None:
    with subscribed(gateway) as subscriber:
        publish(client, [event(number=0)])
        assert numbers(received_events(subscriber, 1)) == [0]
        client.client_kill_filter(_type="normal", skipme=True)
        publish(client, [event(number=number) for number in range(1, 200)])

        assert numbers(received_events(subscriber, 199)) == list(range(1, 200))
        assert gateway.metric("tickstock_gateway_redis_reconnects_total") == 1


def test_a_client_is_told_where_redis_cannot_be_reached(settings: Settings) -> None:
    away = settings.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1/0")})
    with serving(away, SocketLimits(begin_s=0.05)) as gateway, connect(gateway.socket_url) as subscriber:
        with pytest.raises(ConnectionClosed) as ended:
            subscriber.recv(timeout=20)
        assert ended.value.rcvd is not None
        assert (ended.value.rcvd.code, ended.value.rcvd.reason) == (1013, "Redis has not been reached")


def test_entries_that_are_no_events_are_passed_over(gateway: Gateway, client: "redis.Redis") -> None:
    with subscribed(gateway) as subscriber:
        client.xadd("pattern_events", {"something": "else"})
        publish(client, ["{", "[]", '{"data": {}}', event(number=1)])

        assert numbers(received_events(subscriber, 1)) == [1]
        assert gateway.metric("tickstock_gateway_unreadable_events_total") == 4


def test_an_id_comes_with_the_first_subscription(shared_gateway: Gateway) -> None:
    with subscribed(shared_gateway) as subscriber:
        subscriber.send('{"action": "subscribe", "symbols": ["AAPL"], "last_event_id": "0-0"}')

        assert received(subscriber)["data"]["message"].startswith("last_event_id comes with the first subscription")


def test_a_client_that_never_reads_delays_nobody_and_is_cut_off(
    settings: Settings, client: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CuttingProtocol, "last_word_s", 0.1)
    padding = {"context": {f"measure_{number}": 1.5 for number in range(400)}}
    with (
        serving(settings, SocketLimits(queue=500, close_s=0.1)) as gateway,
        stuck_client(gateway) as stuck,
        subscribed(gateway) as reader,
    ):
        assert gateway.metric("tickstock_gateway_clients") == 2
        for start in itertools.count(step=100):
            publish(client, [event(number=number, **padding) for number in range(start, start + 100)])
            # while the other one still stands in its way
            assert numbers(received_events(reader, 100)) == list(range(start, start + 100))
            if gateway.metric("tickstock_gateway_clients") == 1:
                break

        assert gateway.metric('tickstock_gateway_dropped_clients_total{reason="too slow"}') == 1
        place = (gateway.port, stuck.getsockname()[1])
        deadline = time.monotonic() + 20
        while place in held_connections():
            assert time.monotonic() < deadline
            time.sleep(0.02)


def held_connections() -> set[tuple[int, int]]:
    """Connections that this process has open, by the ports of both ends."""
    return {(one.laddr.port, one.raddr.port) for one in psutil.Process().net_connections("tcp") if one.raddr}


def test_a_slow_client_is_told_why_it_is_dropped_and_can_come_again(settings: Settings, client: "redis.Redis") -> None:
    padding = {"context": {f"measure_{number}": 1.5 for number in range(2_000)}}
    with serving(settings, SocketLimits(queue=50)) as gateway:
        with connect(gateway.socket_url, max_queue=1) as subscriber:
            subscribe(subscriber)
            n_events = 0
            while gateway.metric('tickstock_gateway_dropped_clients_total{reason="too slow"}') == 0:
                publish(client, [event(number=number, **padding) for number in range(n_events, n_events + 50)])
                n_events += 50
            found: list[dict[str, Any]] = []
            with pytest.raises(ConnectionClosed) as ended:
                found.extend(iter(lambda: received(subscriber), None))
        assert ended.value.rcvd is not None
        assert ended.value.rcvd.code == 1013
        assert ended.value.rcvd.reason == "too slow: the queue is full"

        with connect(gateway.socket_url) as again:
            last_event_id = found[-1]["data"]["event_id"]
            again.send(json.dumps({"action": "subscribe", "symbols": ["*"], "last_event_id": last_event_id}))
            found += received_events(again, n_events - len(found))

    assert numbers(found) == list(range(n_events))
