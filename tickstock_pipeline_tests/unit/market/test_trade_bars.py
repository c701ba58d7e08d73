"""Minutes out of trades and seconds: when they close, when they open again, and what a trade may set."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickstock_pipeline.market.calendar import trading_calendar
from tickstock_pipeline.market.trade_bars import MinuteBar, MinuteBook, Trade

START = 1_361_802_600_000  # 2013-02-25 09:30 in New York
MINUTE = 60_000


def trade(at: int, price: float, size: float = 100, *conditions: int, sequence: int = 0, symbol: str = "A") -> Trade:
    return Trade(symbol, START + at, price, size, conditions, sequence)


def second(at: int, open_: float, high: float, low: float, close: float, volume: float = 10.0) -> MinuteBar:
    return MinuteBar("A", START + at, open_, high, low, close, volume)


def bar(start: int, *values: float) -> MinuteBar:
    return MinuteBar("A", START + start, *values)


def test_a_minute_is_closed_by_the_next_trade_of_its_symbol_only() -> None:
    book = MinuteBook()

    assert book.trade(trade(0, 10.0)) == []
    assert book.trade(trade(59_999, 11.0, 50)) == []
    assert book.trade(trade(MINUTE, 12.0, symbol="B")) == []
    assert book.trade(trade(MINUTE, 12.0)) == [bar(0, 10.0, 11.0, 10.0, 11.0, 150.0)]


def test_a_minute_is_closed_by_the_clock_after_its_grace() -> None:
    book = MinuteBook(grace_ms=2_000)
    book.trade(trade(30_000, 10.0))

    assert book.due(START + MINUTE + 1_999) == []
    assert book.due(START + MINUTE + 2_000) == [bar(0, 10.0, 10.0, 10.0, 10.0, 100.0)]
    assert book.due(START + 5 * MINUTE) == []


def test_a_minute_is_closed_by_the_providers_own_aggregate_which_is_final() -> None:
    book = MinuteBook()
    book.trade(trade(0, 10.0))
    own = bar(0, 9.0, 12.0, 9.0, 11.0, 500.0)

    assert book.minute(own) == [own]
    assert book.trade(trade(30_000, 20.0)) == []
    assert book.due(START + 5 * MINUTE) == []
    assert book.trade(trade(MINUTE, 13.0)) == []
    again = bar(0, 9.0, 20.0, 9.0, 11.0, 600.0)
    assert book.minute(again) == [again]


def test_a_late_trade_opens_its_minute_again() -> None:
    book = MinuteBook()
    book.trade(trade(10_000, 10.0))
    book.trade(trade(MINUTE, 11.0))

    assert book.trade(trade(20_000, 12.0)) == [bar(0, 10.0, 12.0, 10.0, 12.0, 200.0)]
    assert book.trade(trade(5_000, 9.0)) == [bar(0, 9.0, 12.0, 9.0, 12.0, 300.0)]
    assert book.trade(trade(-30_000, 7.0)) == [bar(-MINUTE, 7.0, 7.0, 7.0, 7.0, 100.0)]


def test_a_trade_after_the_clock_has_closed_its_minute_opens_it_again() -> None:
    book = MinuteBook()
    book.trade(trade(10_000, 10.0))
    book.due(START + 2 * MINUTE)

    assert book.trade(trade(50_000, 8.0)) == [bar(0, 10.0, 10.0, 8.0, 8.0, 200.0)]


def test_a_trade_that_is_too_late_is_left_to_the_provider() -> None:
    book = MinuteBook()
    book.trade(trade(0, 10.0))
    book.trade(trade(30 * MINUTE, 10.0))

    assert book.trade(trade(1_000, 11.0)) == []
    assert book.too_late == 1


@pytest.mark.parametrize(
    ("condition", "values"),
    [
        (0, (10.0, 20.0, 10.0, 20.0, 101.0)),
        (37, (10.0, 10.0, 10.0, 10.0, 101.0)),  # odd lot: volume only
        (12, (10.0, 10.0, 10.0, 10.0, 101.0)),  # form T: volume only
        (32, (10.0, 20.0, 10.0, 10.0, 101.0)),  # sold out of sequence: range and volume
        (10, (10.0, 20.0, 10.0, 10.0, 101.0)),  # derivatively priced: range and volume
        (16, (10.0, 10.0, 10.0, 10.0, 100.0)),  # official open: no trade
        (38, (10.0, 20.0, 10.0, 20.0, 100.0)),  # corrected close: prices only
    ],
)
def test_conditions_say_what_a_trade_sets(condition: int, values: tuple[float, ...]) -> None:
    book = MinuteBook()
    book.trade(trade(0, 10.0))
    book.trade(trade(1, 20.0, 1, condition))

    assert book.minute(bar(MINUTE, 1, 1, 1, 1, 1))[0] == bar(0, *values)


def test_of_several_conditions_each_takes_away() -> None:
    book = MinuteBook()
    book.trade(trade(0, 10.0))
    book.trade(trade(1, 20.0, 1, 14, 32, 41))

    assert book.due(START + 2 * MINUTE) == [bar(0, 10.0, 20.0, 10.0, 10.0, 101.0)]


def test_a_minute_without_a_price_has_no_bar() -> None:
    book = MinuteBook()
    book.trade(trade(0, 10.0, 5, 37))

    assert book.due(START + 2 * MINUTE) == []


def test_the_providers_second_replaces_what_trades_made_of_it() -> None:
    book = MinuteBook()
    book.trade(trade(0, 10.0))
    book.second(second(0, 1.0, 3.0, 1.0, 2.0))
    book.second(second(1_000, 2.0, 4.0, 2.0, 4.0))
    book.trade(trade(500, 50.0))

    assert book.second(second(MINUTE, 9.0, 9.0, 9.0, 9.0)) == [bar(0, 1.0, 4.0, 1.0, 4.0, 20.0)]
    assert book.second(second(1_000, 2.0, 5.0, 2.0, 4.0)) == [bar(0, 1.0, 5.0, 1.0, 4.0, 20.0)]
    assert book.second(second(1_000, 2.0, 5.0, 2.0, 4.0)) == []


def test_a_minute_that_something_may_be_missing_of_is_left_to_the_provider() -> None:
    book = MinuteBook()
    book.trade(trade(0, 10.0))
    book.begin(START + MINUTE)
    book.trade(trade(50_000, 11.0))

    assert book.trade(trade(MINUTE, 12.0)) == []
    assert book.trade(trade(2 * MINUTE, 13.0)) == [bar(MINUTE, 12.0, 12.0, 12.0, 12.0, 100.0)]


def test_minutes_alone_are_not_held() -> None:
    book = MinuteBook()
    own = bar(0, 1.0, 1.0, 1.0, 1.0, 1.0)

    assert book.minute(own) == book.minute(own) == [own]


# 2024-03-08 and -11 lie on both sides of a change to daylight saving time, 2013-11-01 and -04 of one back;
# 2013-11-29 closes at 13:00.
@pytest.mark.parametrize("day", ["2024-03-08", "2024-03-11", "2013-11-01", "2013-11-04", "2013-11-29"])
def test_the_last_minute_of_a_session_is_closed_by_the_clock_at_its_edge(day: str) -> None:
    calendar = trading_calendar()
    closing = int(calendar.closing(np.datetime64(day)).astype("datetime64[ms]").astype("int64"))
    opening = int(calendar.opening(np.datetime64(day)).astype("datetime64[ms]").astype("int64"))
    book = MinuteBook(grace_ms=2_000)

    book.trade(Trade("A", opening, 10.0, 1.0))
    assert book.trade(Trade("A", closing - 1, 11.0, 1.0)) == [MinuteBar("A", opening, 10.0, 10.0, 10.0, 10.0, 1.0)]
    assert book.due(closing + 1_999) == []
    assert book.due(closing + 2_000) == [MinuteBar("A", closing - MINUTE, 11.0, 11.0, 11.0, 11.0, 1.0)]
    # the closing auction prints a little after the bell: a minute of its own, outside the session
    assert book.trade(Trade("A", closing, 12.0, 1.0)) == []


trades = st.lists(
    st.tuples(st.integers(0, 5 * MINUTE - 1), st.integers(1, 50), st.integers(1, 9)), min_size=1, max_size=60
)


@given(trades, st.randoms(use_true_random=False))
def test_the_order_in_which_trades_come_does_not_change_what_they_end_up_as(
    given_trades: list[tuple[int, int, int]], random: object
) -> None:
    numbered = [
        trade(at, float(price), size, sequence=number)
        for number, (at, price, size) in enumerate(sorted(given_trades, key=lambda item: item[0]))
    ]
    shuffled = list(numbered)
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    def final(ordered: list[Trade]) -> dict[int, MinuteBar]:
        book = MinuteBook()
        told = [found for one in ordered for found in book.trade(one)]
        told += book.due(START + 10 * MINUTE)
        return {found.start: found for found in told}

    expected = {}
    for start in {one.time - one.time % MINUTE for one in numbered}:
        inside = [one for one in numbered if one.time - one.time % MINUTE == start]
        prices = [one.price for one in inside]
        expected[start] = MinuteBar(
            "A", start, prices[0], max(prices), min(prices), prices[-1], float(sum(one.size for one in inside))
        )
    assert final(numbered) == expected
    assert final(shuffled) == expected
