"""The five timeframes, their names, their order and where each is derived from."""

from enum import StrEnum


class Timeframe(StrEnum):
    """A bar's period; the value is its name in tables, assets, events and job messages."""

    MINUTE = "1min"
    HOURLY = "hourly"
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"

    @property
    def is_intraday(self) -> bool:
        """Whether bars are keyed by an instant; the others are keyed by a date."""
        return self in (Timeframe.MINUTE, Timeframe.HOURLY)

    @property
    def derived_from(self) -> "Timeframe | None":
        """The finer timeframe whose bars roll up into this one."""
        return _DERIVED_FROM[self]

    @property
    def tier(self) -> str:
        """The name of this timeframe in pattern events."""
        return "intraday" if self is Timeframe.MINUTE else self.value


_DERIVED_FROM: dict[Timeframe, Timeframe | None] = {
    Timeframe.MINUTE: None,
    Timeframe.HOURLY: Timeframe.MINUTE,
    Timeframe.DAILY: Timeframe.MINUTE,
    Timeframe.WEEKLY: Timeframe.DAILY,
    Timeframe.MONTHLY: Timeframe.DAILY,
}
