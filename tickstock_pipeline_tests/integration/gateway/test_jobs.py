"""The gateway over HTTP, as programs and other people's web pages meet it."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx
import pytest
from pydantic import SecretStr

from tickstock_pipeline.settings import Settings
from tickstock_pipeline_tests.gateways import running_gateway

MESSAGE = {"job_id": "j", "job_type": "historical_load", "symbols": ["AAPL"], "years": 1, "timespan": "day"}

Gateway = Callable[..., httpx.Client]


@pytest.fixture
def gateway(settings: Settings) -> Iterator[Gateway]:
    """Starts a gateway with these settings; a client of this machine."""
    with ExitStack() as running:
        yield lambda **changes: running.enter_context(running_gateway(settings.model_copy(update=changes)))


def test_a_job_is_submitted_listed_shown_and_cancelled(gateway: Gateway) -> None:
    client = gateway()

    submitted = client.post("/jobs", json=MESSAGE)
    again = client.post("/jobs", json=MESSAGE)
    shown = client.get("/jobs/j")
    cancelled = client.post("/jobs/j/cancel")

    assert (submitted.status_code, again.status_code) == (202, 200)
    assert submitted.json()["status"] in ("submitted", "queued")
    assert shown.json()["job_id"] == "j"
    assert (cancelled.status_code, cancelled.json()["status"]) == (202, "cancelled")
    assert [job["status"] for job in client.get("/jobs").json()["jobs"]] == ["cancelled"]


def test_an_id_with_a_slash_is_an_id(gateway: Gateway) -> None:
    client = gateway()
    client.post("/jobs", json={**MESSAGE, "job_id": "a/b c"})

    assert client.get("/jobs/a%2Fb%20c").json()["job_id"] == "a/b c"
    assert client.post("/jobs/a/b c/cancel").status_code == 202


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"job_type": "historical_load"}', "job_id is missing"),
    ],
)
def test_what_is_no_job_is_refused_with_the_reason(gateway: Gateway, body: bytes, words: str) -> None:
    answer = gateway().post("/jobs", content=body)

    assert (answer.status_code, answer.json()) == (400, {"error": words})


def test_a_job_that_cannot_be_done_is_refused_and_kept_with_the_reason(gateway: Gateway) -> None:
    client = gateway()

    answer = client.post("/jobs", json={**MESSAGE, "years": -1})

    assert answer.status_code == 400
    assert answer.json()["error_message"].startswith("years is -1")
    assert client.get("/jobs/j").json()["status"] == "failed"


def test_a_body_that_is_too_large_is_not_read_to_its_end(gateway: Gateway) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(100):
            sent += 1
            yield b"x" * 1024 * 1024

    client = gateway()
    try:
        answer = client.post("/jobs", content=endless())
        assert answer.status_code == 413
    except httpx.WriteError:
        pass  # it hung up before the answer was read
    assert sent < 100


@pytest.mark.parametrize("path", ["/jobs/nothing", "/jobs/%00", "/jobs/%ED%A0%80", "/jobs/" + "x" * 10_000, "/other"])
def test_what_does_not_exist_is_not_found(gateway: Gateway, path: str) -> None:
    assert gateway().get(path).status_code == 404


@pytest.mark.parametrize("limit", ["0", "-1", "201", "x", "9" * 5000, "%D9%A3"])
def test_a_limit_is_a_small_number(gateway: Gateway, limit: str) -> None:
    assert gateway().get(f"/jobs?limit={limit}").status_code == 400


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Origin": "null"},
        {"Origin": "http://[::1"},
        {"Host": "evil.example:8080", "Origin": "http://evil.example:8080"},
        {"Host": ""},
    ],
)
def test_pages_of_other_sites_are_refused(gateway: Gateway, headers: dict[str, str]) -> None:
    client = gateway()

    answer = client.post("/jobs", json=MESSAGE, headers=headers)

    assert answer.status_code == 403
    assert client.get("/jobs").json() == {"jobs": []}


def test_our_own_page_may_ask(gateway: Gateway) -> None:
    client = gateway()

    assert client.get("/jobs", headers={"Origin": str(client.base_url).rstrip("/")}).status_code == 200


def test_where_a_token_is_set_it_must_be_shown(gateway: Gateway) -> None:
    client = gateway(gateway_token=SecretStr("geheim"))

    for header in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic geheim"}, {"Authorization": "ü"}):
        encoded = {name: value.encode("utf-8") for name, value in header.items()}
        answer = client.get("/jobs", headers=encoded)
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert client.get("/jobs", headers={"Authorization": "Bearer geheim"}).status_code == 200
    assert client.get("/health").status_code in (200, 503)


def test_health_says_that_it_listens_and_what_was_refused(gateway: Gateway) -> None:
    client = gateway()
    client.post("/jobs", content=b"nonsense")

    while not (answer := client.get("/health")).json()["ok"]:
        pass

    assert answer.json()["intake"] == {"channels": True, "stream": True, "upkeep": True}
    assert answer.json()["refused_messages"] == {"not JSON": 1}


def test_a_gateway_without_redis_still_takes_jobs_and_says_what_is_wrong(gateway: Gateway) -> None:
    client = gateway(redis_url=SecretStr("redis://:geheim@127.0.0.1:1/0"))

    assert client.post("/jobs", json=MESSAGE).status_code == 202
    while not (answer := client.get("/health")).json()["problems"]:
        pass
    assert answer.status_code == 503
    assert "geheim" not in json.dumps(answer.json())


def test_without_a_database_the_answer_says_so(gateway: Gateway) -> None:
    client = gateway(database_url=SecretStr("postgresql://someone:geheim@127.0.0.1:1/bars"))

    answer = client.post("/jobs", json=MESSAGE)

    assert answer.status_code == 503
    assert "does not answer" in answer.json()["error"]
    assert "geheim" not in answer.text
