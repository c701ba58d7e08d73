"""``tickstock gateway`` as it is run: a process of its own, with its own limits and its own log."""

import itertools
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
import redis
from pydantic import SecretStr
from websockets.sync.client import connect

from tickstock_pipeline.runtime.ports import any_free_port
from tickstock_pipeline.settings import Settings
from tickstock_pipeline_tests.integration.gateway.serving import (
    Gateway,
    event,
    numbers,
    publish,
    received_events,
    stuck_client,
    subscribe,
)

TOKEN = "n0b0dy-knows-th1s"
AUTHORIZATION = {"Authorization": f"Bearer {TOKEN}"}
N_AT_ONCE = 400


class Running:
    """The process, and a client of it that has the token."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
        self.process = process
        self.log = log
        http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20, headers=AUTHORIZATION)
        self.gateway = Gateway(http)

    @property
    def memory(self) -> int:
        """Bytes that it holds."""
        return int(psutil.Process(self.process.pid).memory_info().rss)


@pytest.fixture
def running(settings: Settings, tmp_path: Path) -> Iterator[Running]:
    port = any_free_port()
    named = settings.model_copy(
        update={
            "gateway_port": port,
            "gateway_token": SecretStr(TOKEN),
            "gateway_names": "ticks.example",
            "log_level": "DEBUG",
            "home": tmp_path,
        }
    )
    log = tmp_path / "gateway.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tickstock_pipeline", "gateway"],
            env={**os.environ, **named.child_environment()},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            found = Running(process, port, log)
            deadline = time.monotonic() + 60
            while not is_up(found.gateway.http):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            yield found
            found.gateway.http.close()
        finally:
            process.terminate()
            process.wait(30)


def is_up(http: httpx.Client) -> bool:
    try:
        return http.get("/health").status_code == 200
    except httpx.TransportError:
        return False


def close_frame(stuck: socket.socket) -> bytes:
    """What the client finds at the end of all that was sent to it, when at last it reads."""
    stuck.settimeout(20)
    tail = b""
    while data := stuck.recv(1 << 20):
        tail = (tail + data)[-200:]
    return tail[tail.rindex(b"\x88") :]


def test_a_client_that_never_reads_is_dropped_and_the_token_stays_out_of_the_log(
    running: Running, redis_url: str
) -> None:
    gateway = running.gateway
    padding = {"context": {f"measure_{number}": 1.5 for number in range(1_000)}}
    with (
        redis.Redis.from_url(redis_url) as client,
        connect(gateway.socket_url, additional_headers=AUTHORIZATION) as reader,
        stuck_client(gateway, TOKEN, takes=None) as stuck,
    ):
        subscribe(reader)
        before, most = running.memory, 0
        began = time.monotonic()
        # more than fits between a process and a client that does not read
        publish(client, [event(number=number, **padding) for number in range(N_AT_ONCE)])
        assert numbers(received_events(reader, N_AT_ONCE)) == list(range(N_AT_ONCE))
        for number in itertools.count(N_AT_ONCE):
            publish(client, [event(number=number, **padding)])
            assert numbers(received_events(reader, 1)) == [number]
            most = max(most, running.memory - before)
            if gateway.metric('tickstock_gateway_dropped_clients_total{reason="too slow"}'):
                break
            assert time.monotonic() - began < 60
            time.sleep(0.1)

        assert int.from_bytes(close_frame(stuck)[2:4], "big") == 1013
        assert most < 60_000_000
        publish(client, [event(number=0)])
        assert numbers(received_events(reader, 1)) == [0]

    url = str(gateway.http.base_url).rstrip("/")
    job = {"job_id": "j1", "job_type": "historical_load", "symbols": ["AAPL"]}
    assert httpx.post(f"{url}/jobs", json=job).status_code == 401
    assert httpx.post(f"{url}/jobs", json=job, headers={"Authorization": "Bearer guess"}).status_code == 401
    assert gateway.http.get("/metrics", headers={"Host": "evil.example"}).status_code == 403
    assert gateway.http.get("/metrics", headers={"Host": "ticks.example"}).status_code == 200
    assert gateway.http.get("/jobs/j1").status_code == 404
    assert gateway.http.post("/jobs", json=job).status_code == 202
    written = running.log.read_text()
    assert "client dropped" in written
    assert TOKEN not in written
