"""The exception tree: as drawn, reachable from its root, helpful to whoever reads it."""

import inspect

import pytest

from tickstock_pipeline import errors
from tickstock_pipeline.errors import TickstockError

CLASSES = {
    name: found
    for name, found in inspect.getmembers(errors, inspect.isclass)
    if issubclass(found, Exception) and found.__module__ == errors.__name__
}


def drawn_tree() -> dict[str, str | None]:
    """Class name → the name of its parent, read from the drawing in the module's docstring."""
    parents: dict[str, str | None] = {}
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        words = line.replace("│", " ").replace("├──", "   ").replace("└──", "   ").split()
        if not words or words[0] not in CLASSES or line.lstrip() == line:
            continue
        depth = line.index(words[0])
        above = [(column, name) for column, name in above if column < depth]
        parents[words[0]] = above[-1][1] if above else None
        above.append((depth, words[0]))
    return parents


def test_the_drawing_is_the_tree() -> None:
    actual = {name: found.__bases__[0].__name__ for name, found in CLASSES.items()}
    actual["TickstockError"] = None

    assert drawn_tree() == actual


@pytest.mark.parametrize("error_class", CLASSES.values(), ids=CLASSES)
def test_every_error_says_what_went_wrong_and_what_to_do(error_class: type[TickstockError]) -> None:
    error = error_class("It broke.", advice="Mend it.")

    assert isinstance(error, TickstockError)
    assert (error.message, error.advice) == ("It broke.", "Mend it.")
    assert str(error) == "It broke.\nMend it."


def test_without_advice_the_message_stands_alone() -> None:
    assert str(TickstockError("It broke.")) == "It broke."


@pytest.mark.parametrize("error_class", CLASSES.values(), ids=CLASSES)
def test_every_error_is_explained(error_class: type[TickstockError]) -> None:
    assert error_class.__doc__
