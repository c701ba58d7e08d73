"""Which call a planned fault happens to."""

import pytest

from tickstock_pipeline.replay.faults import ANSWER_KINDS, EVENT_KINDS, Fault, FaultKind, FaultPlan


def outcomes(plan: FaultPlan, count: int, *, symbol: str = "AAPL", path: str = "/v2/aggs") -> list[str]:
    chosen = [plan.choose("polygon", path, symbol, ANSWER_KINDS) for _ in range(count)]
    return ["" if fault is None else fault.kind.value for fault in chosen]


def test_a_fault_happens_once_unless_told_otherwise() -> None:
    plan = FaultPlan()
    plan.add("429")

    assert outcomes(plan, 3) == ["429", "", ""]


def test_a_fault_can_wait_for_the_nth_call() -> None:
    plan = FaultPlan([Fault(FaultKind.CUT, nth=3, times=2)])

    assert outcomes(plan, 6) == ["", "", "cut", "cut", "", ""]


def test_a_fault_without_end_always_happens() -> None:
    assert outcomes(FaultPlan([Fault(FaultKind.HTML, times=None)]), 3) == ["html"] * 3


@pytest.mark.parametrize(
    "fault",
    [
        Fault(FaultKind.CUT, provider="yahoo"),
        Fault(FaultKind.CUT, symbol="IBM"),
        Fault(FaultKind.CUT, path="^/v3/"),
        Fault(FaultKind.MUTE),
    ],
    ids=["provider", "symbol", "path", "kind"],
)
def test_a_fault_for_others_does_not_happen_here(fault: Fault) -> None:
    assert outcomes(FaultPlan([fault]), 1) == [""]


def test_faults_that_do_not_match_do_not_count_towards_the_nth_call() -> None:
    plan = FaultPlan([Fault(FaultKind.CUT, symbol="IBM", nth=2)])

    assert outcomes(plan, 3, symbol="AAPL") + outcomes(plan, 2, symbol="IBM") == ["", "", "", "", "cut"]


def test_the_first_of_several_due_faults_happens_and_the_others_still_count() -> None:
    plan = FaultPlan([Fault(FaultKind.CUT), Fault(FaultKind.HTML, nth=2)])

    assert outcomes(plan, 3) == ["cut", "html", ""]


def test_a_rate_is_about_kept_and_the_same_for_the_same_seed() -> None:
    def drawn(seed: int) -> list[str]:
        return outcomes(FaultPlan([Fault(FaultKind.CUT, times=None, rate=0.2)], seed=seed), 1_000)

    assert 150 < drawn(1).count("cut") < 250
    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_hits_are_counted() -> None:
    plan = FaultPlan([Fault(FaultKind.CUT, times=2), Fault(FaultKind.HTML)])
    outcomes(plan, 4)

    assert (plan.hits(), plan.hits("cut"), plan.hits("html"), plan.hits("429")) == (3, 2, 1, 0)


def test_a_cleared_plan_harms_nobody() -> None:
    plan = FaultPlan([Fault(FaultKind.CUT, times=None)])
    plan.clear()

    assert outcomes(plan, 1) == [""]


def test_faults_of_events_do_not_happen_to_answers() -> None:
    plan = FaultPlan([Fault(FaultKind.LATE)])

    assert plan.choose("polygon", "/v2/aggs", "AAPL", ANSWER_KINDS) is None
    assert plan.choose("stream", "AM", "AAPL", EVENT_KINDS) is not None


@pytest.mark.parametrize("value", [{"nth": 0}, {"times": 0}, {"rate": 0.0}, {"rate": 1.5}, {"path": "("}])
def test_a_fault_that_makes_no_sense_is_refused(value: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Fault.from_json({"kind": "cut", **value})


@pytest.mark.parametrize(
    "value", [{}, {"kind": "earthquake"}, {"kind": "cut", "who": "me"}, {"kind": "cut", "nth": []}]
)
def test_json_that_is_no_fault_is_refused(value: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Fault.from_json(value)
