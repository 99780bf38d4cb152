"""How many requests are expected together, and when it is no use to wait for them."""

from __future__ import annotations

from serving.hosting.adaptive_wait import GAP_S, PROBE_EVERY, ArrivalEstimator


def after_runs(*requests: int) -> ArrivalEstimator:
    arrivals = ArrivalEstimator()
    for count in requests:
        arrivals.ran(count)
    return arrivals


def test_lone_requests_are_never_waited_for() -> None:
    arrivals = after_runs(*[1] * 100)
    arrivals.arrived(5.0)
    assert not arrivals.is_waiting_worthwhile(1, 5.0)


def test_more_are_expected_where_several_came() -> None:
    arrivals = after_runs(4)
    arrivals.arrived(5.0)
    assert arrivals.expected == 6
    assert arrivals.is_waiting_worthwhile(4, 5.0)
    assert not arrivals.is_waiting_worthwhile(6, 5.0)


def test_nobody_is_waited_for_after_a_gap() -> None:
    arrivals = after_runs(4)
    arrivals.arrived(5.0)
    assert arrivals.is_waiting_worthwhile(4, 5.0 + 0.9 * GAP_S)
    assert not arrivals.is_waiting_worthwhile(4, 5.0 + 1.1 * GAP_S)


def test_expectation_falls_at_once() -> None:
    assert after_runs(4, 3).expected == 3
    assert after_runs(4, 1).expected == 1


def test_growth_is_tried_again_after_a_while_only() -> None:
    arrivals = after_runs(8, 8)
    assert arrivals.expected == 8
    for _ in range(PROBE_EVERY - 1):
        arrivals.ran(8)
        assert arrivals.expected == 8
    arrivals.ran(8)
    assert arrivals.expected == 12
