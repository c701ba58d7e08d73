"""What the chaos harness waits for: progress, not the clock."""

from chaos.run import Progress


def test_a_standstill_is_counted_from_the_last_time_that_anything_got_less() -> None:
    progress = Progress(0.0)
    assert progress.standstill({"entries": 10}, 5.0) == 0.0
    assert progress.standstill({"entries": 9}, 100.0) == 0.0
    assert progress.standstill({"entries": 9}, 250.0) == 150.0


def test_what_gets_less_counts_also_while_something_else_gets_more() -> None:
    progress = Progress(0.0)
    progress.standstill({"gaps": 3, "entries": 1}, 1.0)
    assert progress.standstill({"gaps": 2, "entries": 500}, 200.0) == 0.0


def test_what_comes_and_goes_is_no_progress() -> None:
    progress = Progress(0.0)
    progress.standstill({"entries": 1}, 1.0)
    assert progress.standstill({}, 2.0) == 0.0
    for at in (3.0, 5.0, 7.0):
        progress.standstill({"entries": 1}, at)
        progress.standstill({}, at + 1.0)
    assert progress.standstill({"entries": 1}, 9.0) == 7.0
