"""Each way to fail, as a plain HTTP client and the official ones see it."""

import gzip
import json
import time
from typing import Any

import httpx
import pytest
from massive import RESTClient
from massive.exceptions import BadResponse

from tickstock_pipeline.replay.server import ReplayServer
from tickstock_pipeline.replay.source import MemorySource

AGGREGATES = "/v2/aggs/ticker/IBM/range/1/day/2005-01-01/2005-12-31"
DAILY = "/query?function=TIME_SERIES_DAILY&symbol=IBM"
CHART = "/v8/finance/chart/IBM?range=1y"
URLS = {"polygon": AGGREGATES + "?apiKey=k", "alpha_vantage": DAILY + "&apikey=k", "yahoo": CHART}

every_provider = pytest.mark.parametrize("provider", list(URLS))


def ask(server: ReplayServer, provider: str, **options: Any) -> httpx.Response:
    return httpx.get(server.url + URLS[provider], **options)


def polygon_times(server: ReplayServer) -> list[int]:
    return [row["t"] for row in ask(server, "polygon").json()["results"]]


@every_provider
@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 502, 503])
def test_statuses(server: ReplayServer, provider: str, status: int) -> None:
    server.faults.add(str(status))

    assert ask(server, provider).status_code == status
    assert ask(server, provider).status_code == 200
    assert [request.status for request in server.requests.all()] == [status, 200]
    assert [request.fault for request in server.requests.all()] == [str(status), ""]


@every_provider
def test_a_429_can_say_when_to_come_back(server: ReplayServer, provider: str) -> None:
    server.faults.add("429")
    server.faults.add("429", retry_after=2)
    server.faults.add("429", reset_after=30)
    silent, retry, reset = (ask(server, provider).headers for _ in range(3))

    assert not {"retry-after", "x-ratelimit-reset"} & set(silent)
    assert retry["retry-after"] == "2"
    assert abs(int(reset["x-ratelimit-reset"]) - time.time() - 30) < 5


def test_a_spent_quota_of_alpha_vantage_is_a_notice_inside_a_200(server: ReplayServer) -> None:
    server.faults.add("quota")
    answer = ask(server, "alpha_vantage")

    assert answer.status_code == 200
    assert list(answer.json()) == ["Information"]


def test_one_symbol_can_be_forbidden_for_ever(server: ReplayServer) -> None:
    server.faults.add("403", symbol="IBM", times=None)
    client = RESTClient("k", base=server.url, retries=0)

    for _ in range(2):
        with pytest.raises(BadResponse, match="NOT_AUTHORIZED"):
            client.get_aggs("IBM", 1, "day", "2005-01-01", "2005-12-31")
    assert client.get_aggs("AAPL", 1, "day", "2005-01-01", "2005-12-31")


@every_provider
def test_a_hang_lasts_until_the_client_gives_up(server: ReplayServer, provider: str) -> None:
    server.faults.add("hang")

    with pytest.raises(httpx.ReadTimeout):
        ask(server, provider, timeout=0.2)
    assert server.requests.all()[0].status == 0
    assert ask(server, provider).status_code == 200


def test_a_hang_can_end(server: ReplayServer) -> None:
    server.faults.add("hang", seconds=0.2)
    started = time.monotonic()

    assert ask(server, "polygon").status_code == 200
    assert time.monotonic() - started >= 0.2


@every_provider
def test_a_connection_is_cut_in_the_middle_of_the_body(server: ReplayServer, provider: str) -> None:
    server.faults.add("cut")

    with pytest.raises(httpx.RemoteProtocolError, match="complete message body"):
        ask(server, provider)
    assert ask(server, provider).status_code == 200


@every_provider
def test_html_comes_with_a_200(server: ReplayServer, provider: str) -> None:
    server.faults.add("html")
    answer = ask(server, provider)

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    with pytest.raises(json.JSONDecodeError):
        answer.json()


@every_provider
def test_gzip_is_the_same_answer_compressed(server: ReplayServer, provider: str) -> None:
    server.faults.add("gzip")
    with httpx.stream("GET", server.url + URLS[provider]) as answer:
        raw = b"".join(answer.iter_raw())
    plain = json.loads(gzip.decompress(raw))
    again = ask(server, provider).json()

    assert answer.headers["content-encoding"] == "gzip"
    assert {**plain, "request_id": ""} == {**again, "request_id": ""}


def test_a_truncated_page_of_polygon_counts_more_than_it_has_and_names_no_next_one(server: ReplayServer) -> None:
    server.faults.add("truncated")
    page = httpx.get(f"{server.url}{AGGREGATES}?apiKey=k&limit=100").json()

    assert page["resultsCount"] == page["count"] == 100
    assert len(page["results"]) == 50
    assert "next_url" not in page


def test_a_truncated_series_of_alpha_vantage_ends_before_its_rows(server: ReplayServer) -> None:
    server.faults.add("truncated")

    assert list(ask(server, "alpha_vantage").json()) == ["Meta Data"]


def test_a_truncated_chart_of_yahoo_has_more_times_than_prices(server: ReplayServer) -> None:
    server.faults.add("truncated")
    result = ask(server, "yahoo").json()["chart"]["result"][0]

    assert len(result["timestamp"]) > len(result["indicators"]["quote"][0]["close"])


def test_a_repeated_cursor_never_ends(server: ReplayServer) -> None:
    server.faults.add("repeated-cursor", times=None)
    client = RESTClient("k", base=server.url, retries=0)
    bars = client.list_aggs("IBM", 1, "day", "2005-01-01", "2005-12-31", limit=100)
    times = [next(bars).timestamp for _ in range(1_000)]

    assert times[:100] == times[100:200] == times[900:]
    assert server.requests.count() == 10


def test_empty_answers_are_valid(server: ReplayServer) -> None:
    server.faults.add("empty", times=3)
    polygon, alpha_vantage, yahoo = (ask(server, provider).json() for provider in URLS)

    assert (polygon["resultsCount"], "results" in polygon, polygon["status"]) == (0, False, "OK")
    assert alpha_vantage["Time Series (Daily)"] == {}
    assert "timestamp" not in yahoo["chart"]["result"][0]


def test_duplicates_come_beside_their_bars(server: ReplayServer) -> None:
    whole = polygon_times(server)
    server.faults.add("duplicates")
    times = polygon_times(server)

    assert len(times) == len(whole) + 3
    assert sorted(set(times)) == whole


def test_bars_out_of_order_are_all_there(server: ReplayServer) -> None:
    whole = polygon_times(server)
    server.faults.add("out-of-order")
    times = polygon_times(server)

    assert times != whole
    assert sorted(times) == whole


def test_one_bad_bar_has_its_high_below_its_low(server: ReplayServer) -> None:
    server.faults.add("bad-ohlc", times=3)
    polygon, alpha_vantage, yahoo = (ask(server, provider).json() for provider in URLS)
    quote = yahoo["chart"]["result"][0]["indicators"]["quote"][0]

    assert sum(row["h"] < row["l"] for row in polygon["results"]) == 1
    series = alpha_vantage["Time Series (Daily)"].values()
    assert sum(float(row["2. high"]) < float(row["3. low"]) for row in series) == 1
    assert sum(high < low for high, low in zip(quote["high"], quote["low"], strict=True)) == 1


def test_fractional_volumes(server: ReplayServer) -> None:
    server.faults.add("fractional-volume")

    assert {row["v"] % 1 for row in ask(server, "polygon").json()["results"]} == {0.25}


@pytest.mark.parametrize("path", ["/stocks/v1/splits?ticker=AAPL", "/v3/reference/dividends?ticker=IBM"])
def test_reference_pages_fail_too(server: ReplayServer, path: str) -> None:
    whole = httpx.get(f"{server.url}{path}&apiKey=k").json()["results"]
    server.faults.add("empty", path="^/(stocks|v3)/")
    server.faults.add("duplicates", path="^/(stocks|v3)/", nth=2)
    server.faults.add("truncated", path="^/(stocks|v3)/", nth=3)
    empty, twice, truncated = (httpx.get(f"{server.url}{path}&apiKey=k").json() for _ in range(3))

    assert empty["results"] == []
    assert len(twice["results"]) == len(whole) + 1
    assert len(truncated["results"]) < truncated["count"] == len(whole)


def test_a_quota_is_enforced_and_violations_are_counted(source: MemorySource) -> None:
    with ReplayServer(source, calls_per_minute=2) as server:
        polygon = [ask(server, "polygon") for _ in range(3)]
        yahoo = [ask(server, "yahoo").status_code for _ in range(3)]
        alpha_vantage = [list(ask(server, "alpha_vantage").json()) for _ in range(3)]

    assert [answer.status_code for answer in polygon] == [200, 200, 429]
    assert abs(int(polygon[2].headers["x-ratelimit-reset"]) - time.time() - 60) < 5
    assert yahoo == [200, 200, 429]
    assert alpha_vantage[2] == ["Information"]
    assert server.requests.violations == 3


def test_faults_can_be_changed_over_http(server: ReplayServer) -> None:
    url = f"{server.url}/_replay/faults"

    assert httpx.put(url, json=[{"kind": "429", "times": None}]).json()[0]["kind"] == "429"
    assert ask(server, "polygon").status_code == 429
    assert httpx.post(url, json={"kind": "html", "provider": "yahoo"}).json()[1]["provider"] == "yahoo"
    assert httpx.get(url).json()[0]["hits"] == 1
    assert httpx.delete(url).json() == []
    assert ask(server, "polygon").status_code == 200


@pytest.mark.parametrize("body", ["[1]", "{}", "not json", '[{"kind": "earthquake"}]', '[{"kind": "cut", "nth": 0}]'])
def test_faults_that_make_no_sense_are_refused_over_http(server: ReplayServer, body: str) -> None:
    answer = httpx.put(f"{server.url}/_replay/faults", content=body)

    assert answer.status_code == 400
    assert answer.json()["error"]
    assert server.faults.as_json() == []


def test_requests_can_be_looked_at_over_http_and_hold_no_key(server: ReplayServer) -> None:
    httpx.get(f"{server.url}{AGGREGATES}", params={"limit": "5"}, headers={"Authorization": "Bearer s3cret"})
    httpx.get(f"{server.url}{DAILY}&apikey=s3cret")
    shown = httpx.get(f"{server.url}/_replay/requests")

    assert shown.json()["count"] == 2
    assert shown.json()["requests"][0]["query"] == {"limit": "5"}
    assert shown.json()["requests"][1]["provider"] == "alpha_vantage"
    assert "s3cret" not in shown.text
    assert httpx.delete(f"{server.url}/_replay/requests").json()["count"] == 0
