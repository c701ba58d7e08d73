"""Asking again: what for, how often, after how long. Nothing here really waits."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import stamina
from hypothesis import given
from hypothesis import strategies as st

from tickstock_pipeline.errors import (
    ProviderAnswerError,
    ProviderError,
    ProviderRefusedError,
    ProviderUnavailableError,
    RateLimitedError,
    UnknownSymbolError,
)
from tickstock_pipeline.providers.retries import (
    ATTEMPTS,
    LONGEST_PAUSE,
    LONGEST_TOTAL,
    Patience,
    call_with_retries,
    retry_after_seconds,
    retryable,
)

NOW = datetime(2026, 3, 4, 12, 0, 0, tzinfo=UTC)


@pytest.fixture
def without_pauses() -> Iterator[None]:
    with stamina.set_testing(True, attempts=100, cap=True):
        yield


class Failing:
    """Raises each error once, then answers."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.attempts = 0

    def __call__(self) -> str:
        self.attempts += 1
        if self.errors:
            raise self.errors.pop(0)
        return "bars"


@pytest.mark.usefixtures("without_pauses")
def test_what_a_retry_may_mend_is_asked_for_again() -> None:
    attempt = Failing(ProviderUnavailableError("503"), RateLimitedError("429", retry_after_seconds=3.0))

    assert call_with_retries("bars of AAPL", attempt) == "bars"
    assert attempt.attempts == 3


@pytest.mark.usefixtures("without_pauses")
@pytest.mark.parametrize(
    "error",
    [
        ProviderRefusedError("401"),
        UnknownSymbolError("404"),
        ProviderAnswerError("HTML"),
        RateLimitedError("daily quota", retry_after_seconds=LONGEST_PAUSE + 1),
        ProviderUnavailableError("maintenance", retry_after_seconds=3600.0),
        ValueError("a fault of ours"),
    ],
)
def test_what_a_retry_cannot_mend_is_raised_at_once(error: Exception) -> None:
    attempt = Failing(error)

    with pytest.raises(type(error)) as raised:
        call_with_retries("bars of AAPL", attempt)

    assert raised.value is error
    assert attempt.attempts == 1


@pytest.mark.usefixtures("without_pauses")
def test_attempts_are_bounded_and_the_last_reason_is_raised() -> None:
    errors = [ProviderUnavailableError(f"attempt {number}") for number in range(1, 100)]
    attempt = Failing(*errors)

    with pytest.raises(ProviderUnavailableError, match=f"attempt {ATTEMPTS}$"):
        call_with_retries("bars of AAPL", attempt)

    assert attempt.attempts == ATTEMPTS


def test_the_pause_that_a_provider_asks_for_is_kept_exactly() -> None:
    assert Patience("bars")(RateLimitedError("429", retry_after_seconds=17.0)) == 17.0
    assert Patience("bars")(ProviderUnavailableError("503", retry_after_seconds=0.0)) == 0.0


def test_without_such_a_pause_the_growing_one_is_taken() -> None:
    assert Patience("bars")(RateLimitedError("429")) is True
    assert Patience("bars")(ProviderUnavailableError("503")) is True


def test_pauses_are_bounded_in_total() -> None:
    patience = Patience("bars")
    granted = 0.0
    while (pause := patience(RateLimitedError("429", retry_after_seconds=100.0))) is not False:
        granted += pause

    assert 0 < granted <= LONGEST_TOTAL


def test_what_is_logged_names_the_request_and_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        Patience("minute bars of AAPL")(ProviderUnavailableError("Polygon answers 503.", advice="Wait."))

    assert caplog.messages == ["minute bars of AAPL: Polygon answers 503."]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"retry-after": " 0.5 "}, 0.5),
        ({"Retry-After": format_datetime(NOW + timedelta(seconds=90), usegmt=True)}, 90.0),
        ({"Retry-After": "Wed, 04 Mar 2026 11:00:00 GMT"}, 0.0),
        ({"X-RateLimit-Reset": "12"}, 12.0),
        ({"X-RateLimit-Reset": str(int(NOW.timestamp()) + 25)}, 25.0),
        ({"X-RateLimit-Reset": str(int(NOW.timestamp() * 1000) + 2500)}, 2.5),
        ({"X-Ratelimit-Reset": str(int(NOW.timestamp()) - 25)}, 0.0),
        ({"RateLimit-Reset": "50"}, 50.0),
        ({"Retry-After": "3", "X-RateLimit-Reset": "30"}, 3.0),
        ({"Retry-After": "soon", "X-RateLimit-Reset": "30"}, 30.0),
        ({"Retry-After": "-5"}, 0.0),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": ""}, None),
        ({"Content-Type": "text/html"}, None),
        ({}, None),
    ],
)
def test_how_long_to_wait_is_read_from_the_headers(headers: dict[str, str], expected: float | None) -> None:
    assert retry_after_seconds(headers, NOW) == (None if expected is None else pytest.approx(expected, abs=1e-3))


@given(st.text(max_size=40), st.sampled_from(["Retry-After", "X-RateLimit-Reset"]))
def test_no_header_can_do_harm(text: str, name: str) -> None:
    seconds = retry_after_seconds({name: text}, NOW)

    assert seconds is None or seconds >= 0


@given(st.floats(allow_nan=False) | st.none())
def test_only_short_quotas_are_waited_for(seconds: float | None) -> None:
    assert retryable(RateLimitedError("429", retry_after_seconds=seconds)) == (
        seconds is None or seconds <= LONGEST_PAUSE
    )


def test_every_error_of_a_provider_is_decided_on() -> None:
    assert {kind.__name__ for kind in ProviderError.__subclasses__() if retryable(kind("It broke."))} == {
        "ProviderUnavailableError",
        "RateLimitedError",
    }
