"""Request budgets that threads and processes share over a real Redis."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import redis
from limits import RateLimitItemPerMinute, RateLimitItemPerSecond
from limits.storage import RedisStorage
from limits.strategies import MovingWindowRateLimiter
from pydantic import SecretStr

from tickstock_pipeline.errors import RateLimitedError
from tickstock_pipeline.providers.limits import RequestBudget, budget_of, request_budget, window_of
from tickstock_pipeline.providers.shared_windows import SharedWindows
from tickstock_pipeline.runtime.redis import EmbeddedRedis
from tickstock_pipeline.settings import Settings

FIVE_IN_TWO_SECONDS = RateLimitItemPerSecond(5, 2)

# Says that it is there; told to go, prints when each of its requests was allowed: CLOCK_MONOTONIC is the same in all
# processes of a machine.
PROCESS = """
import sys, time
from limits import RateLimitItemPerSecond
from tickstock_pipeline.providers.limits import budget_of
budget = budget_of("polygon", sys.argv[2], [RateLimitItemPerSecond(5, 2)], sys.argv[1], longest_wait=60)
print("ready", flush=True)
sys.stdin.readline()
for _ in range(int(sys.argv[3])):
    budget.acquire()
    print(time.monotonic(), flush=True)
"""


def budget(redis_url: str, account: str = "account", longest_wait: float = 60.0) -> RequestBudget:
    return budget_of("polygon", account, [FIVE_IN_TWO_SECONDS], redis_url, longest_wait=longest_wait)


def most_in(times: Sequence[float], seconds: float) -> int:
    return max(sum(first <= time < first + seconds for time in times) for first in times)


@pytest.fixture
def redis_settings(clean_environment: None, redis_url: str) -> Settings:
    """Settings that need no database."""
    return Settings.load(_env_file=None, redis_url=SecretStr(redis_url))


def sent_by_all(redis_url: str, account: str) -> list[float]:
    """When the requests of two processes and three threads of a third one were allowed, in order."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, redis_url, account, "6"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.close()
    times: list[float] = []

    def send() -> None:
        shared.acquire()
        times.append(time.monotonic())

    shared = budget(redis_url, account)
    threads = [threading.Thread(target=send) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for process in processes:
        assert process.stdout is not None
        with process, process.stdout:
            times += [float(line) for line in process.stdout]
    assert len(times) == 15
    return sorted(times)


def test_threads_and_processes_together_never_send_one_request_over(redis_url: str) -> None:
    # a busy machine may hold one up between its turn and its look at the clock
    assert any(most_in(sent_by_all(redis_url, account), 2.0) == 5 for account in ("first", "second", "third"))


def test_who_asks_first_is_served_first(redis_url: str) -> None:
    window = window_of(RateLimitItemPerMinute(1))
    one, other = (SharedWindows(redis_url, "fair", [window]) for _ in range(2))

    slots = [float(asking.reserve(600.0).key) for asking in (one, other, other, one, other, one)]

    assert slots == sorted(slots)
    assert slots[-1] - slots[0] == pytest.approx(5 * window.seconds)


def test_the_limit_costs_little_more_than_its_own_time(redis_url: str) -> None:
    asking = SharedWindows(redis_url, "cost", [window_of(FIVE_IN_TWO_SECONDS)])

    slots = [float(asking.reserve(60.0).key) for _ in range(11)]

    # ten more than the first, five in two seconds
    assert 4.0 <= slots[-1] - slots[0] <= 4.0 * 1.05


def test_others_who_use_the_same_library_see_and_respect_the_window(redis_url: str) -> None:
    limit = RateLimitItemPerMinute(5)
    shared = budget_of("polygon", "account", [limit], redis_url, longest_wait=0.0)
    for _ in range(3):
        shared.acquire()
    limiter = MovingWindowRateLimiter(RedisStorage(redis_url))

    assert limiter.get_window_stats(limit, "{account}").remaining == 2
    assert limiter.hit(limit, "{account}")
    assert limiter.hit(limit, "{account}")
    with pytest.raises(RateLimitedError):
        shared.acquire()


def test_accounts_and_providers_do_not_share(redis_url: str, redis_settings: Settings) -> None:
    for provider, account in [("polygon", "one"), ("polygon", "other"), ("alpha_vantage", "one"), ("yahoo", None)]:
        request_budget(redis_settings, provider, account, 1, 0, longest_wait=0.0).acquire()

    with pytest.raises(RateLimitedError, match="polygon"):
        request_budget(redis_settings, "polygon", "one", 1, 0, longest_wait=0.0).acquire()


def test_a_pause_holds_up_everybody_on_the_account(redis_url: str) -> None:
    one, other, stranger = (budget(redis_url, name, longest_wait=0.0) for name in ("account", "account", "stranger"))
    one.penalise(30.0)

    with pytest.raises(RateLimitedError) as refused:
        other.acquire()
    assert refused.value.retry_after_seconds == pytest.approx(30.0, abs=1.0)
    stranger.acquire()


def test_a_pause_reaches_those_who_already_wait_and_the_limit_still_holds(redis_url: str) -> None:
    # so long that a busy machine starts the threads and the pause before anybody's turn comes
    limit = RateLimitItemPerSecond(5, 5)
    windows = SharedWindows(redis_url, "account", [window_of(limit)])
    for _ in range(5):
        assert windows.reserve(0.0).wait == 0

    def asking() -> RequestBudget:
        return budget_of("polygon", "account", [limit], redis_url, longest_wait=60.0)

    shared = asking()
    times: list[float] = []

    def send() -> None:
        shared.acquire()
        times.append(time.monotonic())

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 10.0
    with redis.Redis.from_url(redis_url) as client:
        # the first of those who wait has the oldest slot that is known once the fifth has one
        while float(client.lindex("LIMITS:LIMITER/{account}/5/5/second", 4)) < time.time():  # type: ignore[arg-type]
            assert time.monotonic() < deadline
            time.sleep(0.01)
    paused = time.monotonic()
    asking().penalise(6.0)
    for thread in threads:
        thread.join()

    assert min(times) >= paused + 6.0
    assert most_in(times, 5.0) <= 5


def test_what_redis_forgets_is_put_back_by_those_who_remember(redis_url: str) -> None:
    one = budget(redis_url, longest_wait=0.0)
    other = budget(redis_url, longest_wait=0.0)
    for shared in (one, one, one, other, other):
        shared.acquire()
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
        # one puts back three, so two more fit, until the other puts back its two
        one.acquire()
        with pytest.raises(RateLimitedError):
            other.acquire()
        with pytest.raises(RateLimitedError):
            one.acquire()
        # the five from before and the one since
        assert client.llen("LIMITS:LIMITER/{account}/5/2/second") == 6


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    server = EmbeddedRedis(tmp_path)
    try:
        yield server
    finally:
        server.stop()


def test_without_redis_a_part_of_the_budget_is_used_until_it_is_back(
    own_redis: EmbeddedRedis, caplog: pytest.LogCaptureFixture
) -> None:
    url = own_redis.start()
    shared = budget_of("polygon", f"account-of-{url}", [RateLimitItemPerSecond(8, 1)], url, longest_wait=60.0)
    shared.acquire()
    own_redis.stop()

    start = time.monotonic()
    for _ in range(4):
        shared.acquire()
    # a second of nothing, then two a second instead of eight
    assert 2.0 <= time.monotonic() - start < 20.0
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "does not answer" in caplog.text

    url_again = own_redis.start()
    assert url_again == url
    caplog.clear()
    with caplog.at_level("INFO"):
        shared.acquire()
    assert "answers again" in caplog.text
    with redis.Redis.from_url(url) as client:
        (key,) = client.keys("LIMITS:LIMITER/*")  # type: ignore[misc]
        # what was sent while it was away is counted, too
        assert client.llen(key) >= 3


def test_no_password_is_shown(caplog: pytest.LogCaptureFixture, free_tcp_port: int) -> None:
    shared = budget_of(
        "polygon",
        "nobody",
        [RateLimitItemPerMinute(60)],
        f"redis://:topsecret@127.0.0.1:{free_tcp_port}/0",
        longest_wait=0.0,
    )
    with pytest.raises(RateLimitedError) as refused:
        shared.acquire()

    assert "topsecret" not in caplog.text + str(refused.value) + repr(shared)


def test_the_day_of_a_free_account_lasts_a_day(redis_settings: Settings) -> None:
    shared = request_budget(redis_settings, "alpha_vantage", "free", 0, 25, longest_wait=0.0)
    for _ in range(24):
        shared.acquire()

    with pytest.raises(RateLimitedError) as refused:
        shared.acquire()
    assert window_of(RateLimitItemPerMinute(5)).seconds > 60
    assert refused.value.retry_after_seconds == pytest.approx(86400, rel=0.01)


def test_a_slot_that_nobody_waits_for_any_more_is_given_to_the_next(redis_url: str) -> None:
    window = window_of(RateLimitItemPerMinute(1))
    one, other = (SharedWindows(redis_url, "given-back", [window]) for _ in range(2))
    assert one.reserve(0.0).wait == 0
    waited_for = one.reserve(300.0)
    assert waited_for.wait > 50

    one.give_back(waited_for)

    assert 50 < other.reserve(300.0).wait <= waited_for.wait


def test_a_pause_forgets_nothing_that_was_sent_before(redis_url: str) -> None:
    windows = SharedWindows(redis_url, "short-pause", [window_of(RateLimitItemPerMinute(5))])
    # as many have been sent as may be, and as many wait
    waits = [windows.reserve(300.0).wait for _ in range(10)]
    assert waits[4] == 0 < waits[5]

    windows.pause(1.0)

    assert windows.reserve(300.0).wait > 50
