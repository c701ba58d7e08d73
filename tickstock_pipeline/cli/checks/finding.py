"""What a check found, and how it is to be mended."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from tickstock_pipeline.errors import TickstockError


class Level(StrEnum):
    """How bad it is: a warning does not keep anything from working."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's list; ``advice`` says how to mend it."""

    check: str
    level: Level
    text: str
    advice: str = ""

    @classmethod
    def of_error(cls, check: str, error: TickstockError) -> Self:
        """A problem in the words of the error that a command would have raised."""
        return cls(check, Level.PROBLEM, error.message, error.advice)
