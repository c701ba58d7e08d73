"""Provider ``sample``: the packaged file, files of one's own, and what is wrong with them."""

import gzip
import importlib.util
import sys
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tickstock_pipeline.errors import ProviderError, UnknownSymbolError
from tickstock_pipeline.market.adjustment import Split
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.base import HistoricalProvider
from tickstock_pipeline.providers.sample import SampleProvider
from tickstock_pipeline_tests.unit.providers.contract import ProviderContract

HEADER = "ticker,date,open,high,low,close,volume"
ALWAYS = (date(1800, 1, 1), date(2500, 1, 1))


@pytest.fixture(scope="module")
def packaged() -> SampleProvider:
    return SampleProvider()


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    spec = importlib.util.find_spec("bokeh_sampledata")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return pd.read_csv(Path(spec.submodule_search_locations[0], "_data", "stocks.csv.gz"))


def written(folder: Path, *lines: str, header: str = HEADER, name: str = "prices.csv") -> Path:
    path = folder / name
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


class TestPackagedFile(ProviderContract):
    symbol = "AAPL"
    timeframe = Timeframe.DAILY
    first = date(2000, 3, 1)
    last = date(2013, 3, 1)
    raw_close = (date(2005, 2, 25), 88.99)

    @pytest.fixture
    def provider(self, packaged: SampleProvider) -> HistoricalProvider:
        return packaged


class TestOwnFile(ProviderContract):
    symbol = "XYZ"
    timeframe = Timeframe.DAILY
    first = date(2012, 10, 26)
    last = date(2012, 11, 5)
    raw_close = (date(2012, 10, 31), 20.0)

    @pytest.fixture
    def provider(self, tmp_path: Path) -> HistoricalProvider:
        written(tmp_path, "xyz,2012-11-02,2", name="prices.splits.csv", header="symbol,ex_date,ratio")
        return SampleProvider(
            written(
                tmp_path,
                "XYZ,2012-10-26,20,21,19,20.5,100",
                "XYZ,2012-10-29,20,21,19,20.5,100",
                "XYZ,2012-10-31,20,21,19,20,100",
                "XYZ,2012-11-01,20,21,19,20,100",
                "XYZ,2012-11-01,20,18,19,20,100",
                "XYZ,2012-11-02,10,11,9,10,200",
                "XYZ,2012-11-05,10,11,9,10,200",
                "XYZ,2012-11-0\0,10,11,9,10,200",
            )
        )


def test_packaged_file_gives_every_row_of_every_symbol(packaged: SampleProvider, table: pd.DataFrame) -> None:
    assert [listing.symbol for listing in packaged.catalogue()] == list(table["Ticker"].unique())
    for symbol, rows in table.groupby("Ticker"):
        fetched = packaged.fetch_bars(str(symbol), Timeframe.DAILY, *ALWAYS)
        assert fetched.refused == ()
        assert fetched.bars.time.astype("datetime64[D]").astype(str).tolist() == rows["Date"].tolist()
        for name in ("open", "high", "low", "close", "volume"):
            np.testing.assert_array_equal(getattr(fetched.bars, name), rows[name.capitalize()].to_numpy())


def test_catalogue_of_the_packaged_file_has_the_dates_of_its_symbols(packaged: SampleProvider) -> None:
    ranges = {listing.symbol: (str(listing.first), str(listing.last)) for listing in packaged.catalogue()}
    assert ranges == {
        "AAPL": ("2000-03-01", "2013-03-01"),
        "FB": ("2012-05-18", "2013-03-01"),
        "GOOG": ("2004-08-19", "2013-03-01"),
        "IBM": ("2000-03-01", "2013-03-01"),
        "MSFT": ("2000-03-01", "2013-03-01"),
    }


def test_splits_of_the_packaged_file_are_where_its_adjusted_closes_say(
    packaged: SampleProvider, table: pd.DataFrame
) -> None:
    found = []
    for symbol, rows in table.groupby("Ticker"):
        raw = rows["Close"].to_numpy()
        adjusted = rows["Adj Close"].to_numpy()
        # by how much more than the adjusted price the raw one fell; dividends make at most 1.12 of it (MSFT, 2004)
        ratio = (raw[:-1] / raw[1:]) / (adjusted[:-1] / adjusted[1:])
        for position in np.flatnonzero(np.abs(ratio - 1) > 0.2):
            assert ratio[position] == pytest.approx(2.0, abs=1e-6)
            assert raw[position] / raw[position + 1] == pytest.approx(2.0, abs=0.2)
            found.append(Split(str(symbol), date.fromisoformat(rows["Date"].iloc[position + 1]), 2.0))
    assert found == [split for listing in packaged.catalogue() for split in packaged.fetch_splits(listing.symbol)]
    assert found == [
        Split("AAPL", date(2000, 6, 21), 2.0),
        Split("AAPL", date(2005, 2, 28), 2.0),
        Split("MSFT", date(2003, 2, 18), 2.0),
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("IBM,2013-01-03,10,9,11,10,100", "high is below low"),
        ("IBM,2013-01-03,10,11,9,,100", "close is missing"),
        ("IBM,2013-01-03,10,11,9, ,100", "close is missing"),
        ("IBM,2013-01-03,10,11,9,ten,100", "close is not a number"),
        ("IBM,2013-01-03,10,11,9,nan,100", "a price is missing or not finite"),
        ("IBM,2013-01-03,10,11,9,10,", "volume is missing"),
        ("IBM,2013-01-03,10,11,9,10,-1", "volume is negative"),
        ("IBM,2013-13-45,10,11,9,10,100", "the date is not a date of the form YYYY-MM-DD"),
        ("IBM,,10,11,9,10,100", "the date is not a date of the form YYYY-MM-DD"),
        ("IBM,2013-01-05,10,11,9,10,100", "the exchange does not trade on this date"),
        ("IBM,9999-12-31,10,11,9,10,100", "the calendar of the exchange covers"),
        ("IBM,0001-01-01,10,11,9,10,100", "the calendar of the exchange covers"),
        ("IBM,2013-01-03,10,11", "the row has 4 fields where the header has 7"),
        ("IBM,2013-01-03,10,11,9,10,1,000", "the row has 8 fields where the header has 7"),
        ("I BM,2013-01-03,10,11,9,10,100", "'I BM' is not a symbol"),
        (",2013-01-03,10,11,9,10,100", "'' is not a symbol"),
    ],
)
def test_corrupt_row_is_refused_once_and_all_others_are_good(tmp_path: Path, line: str, reason: str) -> None:
    good = ["IBM,2012-12-31,10,11,9,10,100", "IBM,2013-01-02,10,11,9,10,100", "IBM,2014-01-02,10,11,9,10,100"]
    provider = SampleProvider(written(tmp_path, *good[:2], line, good[2]))
    years = [
        provider.fetch_bars("IBM", Timeframe.DAILY, date(year, 1, 1), date(year, 12, 31)) for year in range(2000, 2020)
    ]
    assert [bar for year in years for bar in year.bars.time.astype("datetime64[D]").astype(str)] == [
        "2012-12-31",
        "2013-01-02",
        "2014-01-02",
    ]
    assert [len(year.refused) for year in years] == [int(year == 2013) for year in range(2000, 2020)]
    (refused,) = years[13].refused
    assert refused.reason.startswith(reason)
    assert refused.raw
    assert [(str(x.first), str(x.last)) for x in provider.catalogue()] == [("2012-12-31", "2014-01-02")]


def test_refused_row_shows_the_line_and_what_was_in_it(tmp_path: Path) -> None:
    provider = SampleProvider(written(tmp_path, "IBM,2013-01-02,10,11,9,10,100", "IBM,03/01/2013,10,11,9,,100"))
    (refused,) = provider.fetch_bars("IBM", Timeframe.DAILY, *ALWAYS).refused
    assert refused.time == "03/01/2013"
    assert refused.raw == {
        "line": 3,
        "ticker": "IBM",
        "date": "03/01/2013",
        "open": "10",
        "high": "11",
        "low": "9",
        "close": "",
        "volume": "100",
    }


def test_corrupt_row_before_all_good_ones_is_found_with_the_first_good_one(tmp_path: Path) -> None:
    lines = ["IBM,2013,1,1,1,1,1", "IBM,2013-01-05,10,11,9,10,1", "IBM,2013-01-07,10,11,9,10,1"]
    provider = SampleProvider(written(tmp_path, *lines))
    fetched = provider.fetch_bars("IBM", Timeframe.DAILY, date(2013, 1, 7), date(2013, 1, 7))
    assert len(fetched.bars) == 1
    assert len(fetched.refused) == 2


def test_symbol_without_a_trading_day_is_not_listed_but_its_rows_are_reported(tmp_path: Path) -> None:
    provider = SampleProvider(written(tmp_path, "ABC,never,1,1,1,1,1", "DEF,2013-01-05,1,1,1,1,1"))
    assert provider.catalogue() == ()
    for symbol in ("ABC", "DEF"):
        fetched = provider.fetch_bars(symbol, Timeframe.DAILY, *ALWAYS)
        assert (len(fetched.bars), len(fetched.refused)) == (0, 1)


def test_rows_may_come_in_any_order_and_symbols_in_any_case(tmp_path: Path) -> None:
    lines = ["zzz,2013-01-03,1,1,1,1,1", "aaa,2013-01-02,2,2,2,2,2", "ZZZ,2013-01-02,3,3,3,3,3", ",,,,,,", ""]
    provider = SampleProvider(written(tmp_path, *lines))
    assert [listing.symbol for listing in provider.catalogue()] == ["ZZZ", "AAA"]
    assert provider.fetch_bars("ZZZ", Timeframe.DAILY, *ALWAYS).bars.close.tolist() == [3.0, 1.0]
    assert provider.fetch_bars("ZZZ", Timeframe.DAILY, *ALWAYS).refused == ()


@pytest.mark.parametrize(
    "header",
    [
        "Ticker,Date,Open,High,Low,Close,Volume,Adj Close",
        "\N{ZERO WIDTH NO-BREAK SPACE}ticker, date, open, high, low, close, volume, adj_close",
    ],
)
def test_header_may_be_written_in_several_ways(tmp_path: Path, header: str) -> None:
    provider = SampleProvider(written(tmp_path, "IBM,2013-01-02,10,11,9,10,100,9.5", header=header))
    assert provider.fetch_bars("IBM", Timeframe.DAILY, *ALWAYS).bars.close.tolist() == [10.0]


def test_compressed_file_and_its_splits_are_read(tmp_path: Path) -> None:
    path = tmp_path / "prices.csv.gz"
    path.write_bytes(gzip.compress(f"{HEADER}\nIBM,2013-01-02,10,11,9,10,100\n".encode()))
    written(tmp_path, "IBM,2013-06-03,3", "IBM,2013-05-01,0.5", name="prices.splits.csv", header="symbol,ex_date,ratio")
    provider = SampleProvider(path)
    assert len(provider.fetch_bars("IBM", Timeframe.DAILY, *ALWAYS).bars) == 1
    assert provider.fetch_splits("IBM") == (Split("IBM", date(2013, 5, 1), 0.5), Split("IBM", date(2013, 6, 3), 3.0))


def test_own_file_without_a_file_of_splits_has_none(tmp_path: Path) -> None:
    provider = SampleProvider(written(tmp_path, "AAPL,2000-03-01,10,11,9,10,100"))
    assert provider.fetch_splits("AAPL") == ()


@pytest.mark.parametrize("line", ["IBM,2013-06-03,0", "IBM,soon,2", "IBM,2013-06-03", "I BM,2013-06-03,2"])
def test_corrupt_split_is_an_error_that_names_its_line(tmp_path: Path, line: str) -> None:
    written(tmp_path, "IBM,2013-05-01,2", line, name="prices.splits.csv", header="symbol,ex_date,ratio")
    provider = SampleProvider(written(tmp_path, "IBM,2013-01-02,10,11,9,10,100"))
    with pytest.raises(ProviderError, match=r"prices\.splits\.csv, line 3"):
        provider.fetch_splits("IBM")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("prices.csv", b"ticker,date,open,high,low,volume\n", "has no column close"),
        ("prices.csv", b"", "has no column ticker, date"),
        ("prices.csv", b"\xff\xfe\x00", "cannot be read"),
        ("prices.csv", b"ticker,date,open,high,low,close,volume\nIBM\xff,1,1,1,1,1,1\n", "cannot be read"),
        ("prices.csv", b"ticker,date,open,high,low,close,volume\nI BM,2013-01-02,1,1,1,1,1\n", "line 2: 'I BM'"),
        ("prices.csv.gz", b"this is not gzip", "cannot be read"),
        ("prices.csv.gz", gzip.compress(f"{HEADER}\n".encode() * 9, mtime=0)[:-12], "cannot be read"),
    ],
)
def test_file_that_cannot_be_used_is_an_error_with_advice(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ProviderError, match=message) as refused:
        SampleProvider(path).catalogue()
    assert str(path) in refused.value.message
    assert refused.value.advice


def test_missing_file_is_an_error_with_advice(tmp_path: Path) -> None:
    with pytest.raises(ProviderError, match="cannot be read") as refused:
        SampleProvider(tmp_path / "none.csv").catalogue()
    assert refused.value.advice


def test_missing_package_is_an_error_that_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # None in sys.modules is how Python marks a package that cannot be imported, whoever imported it before
    monkeypatch.setitem(sys.modules, "bokeh_sampledata", None)
    with pytest.raises(ProviderError, match="is not installed") as refused:
        SampleProvider().catalogue()
    assert "pip install bokeh-sampledata" in refused.value.advice


def test_unknown_symbol_is_answered_with_the_known_ones(packaged: SampleProvider) -> None:
    with pytest.raises(UnknownSymbolError) as refused:
        packaged.fetch_splits("aapl")
    assert "AAPL, FB, GOOG, IBM, MSFT" in refused.value.advice
