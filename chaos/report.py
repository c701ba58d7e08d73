"""What a run did and what it found, as data and as tables for people."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

_SHOWN = 5
_LINE = 200


class Done(NamedTuple):
    """One thing that was done: what to whom, how often, and how long it then took to come back, in seconds."""

    what: str
    times: int
    longest_back_s: float | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One comparison.

    Attributes
    ----------
    name : what was compared
    expected : how many things were compared
    differences : in words; empty: all is well
    """

    name: str
    expected: int
    differences: tuple[str, ...] = ()

    @classmethod
    def of(cls, name: str, expected: int, differences: Iterable[str]) -> "Finding":
        """A finding from differences as they come."""
        return cls(name, expected, tuple(differences))


@dataclass(slots=True)
class Report:
    """A whole run."""

    title: str
    done: list[Done] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether nothing differs."""
        return not any(finding.differences for finding in self.findings)

    def show(self, console: Console) -> None:
        """Print it, with the first differences."""
        table = Table(title=self.title)
        for column in ("done", "times", "slowest return, s"):
            table.add_column(column, justify="left" if column == "done" else "right")
        for one in self.done:
            back = "" if one.longest_back_s is None else f"{one.longest_back_s:.1f}"
            table.add_row(one.what, f"{one.times:,}", back)
        console.print(table)
        table = Table()
        for column in ("compared", "expected", "different"):
            table.add_column(column, justify="left" if column == "compared" else "right")
        for finding in self.findings:
            n_different = f"[red]{len(finding.differences):,}[/]" if finding.differences else "0"
            table.add_row(finding.name, f"{finding.expected:,}", n_different)
        console.print(table)
        for finding in self.findings:
            for line in finding.differences[:_SHOWN]:
                console.print(f"[red]{finding.name}[/]: {line[:_LINE]}", soft_wrap=True, highlight=False)
            if len(finding.differences) > _SHOWN:
                console.print(f"{finding.name}: and {len(finding.differences) - _SHOWN:,} more")
