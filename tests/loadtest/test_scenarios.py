"""Schedules: seeded, of the rate asked for, the same whether one process follows them or several."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from contract import StageError
from loadtest.scenarios import (
    FOREVER_S,
    PROFILES,
    Burst,
    Closed,
    Offline,
    Open,
    arrivals_s,
    at_rate,
    find_profile,
    from_fields,
    schedule_s,
    to_fields,
)


def test_poisson_gaps_are_exponential() -> None:
    gaps = np.diff(arrivals_s(Open(1000, 60), seed=1))
    assert gaps.mean() == pytest.approx(1e-3, rel=0.02)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.03)
    assert np.quantile(gaps, 0.5) == pytest.approx(np.log(2) * 1e-3, rel=0.03)


def test_arrivals_repeat_with_their_seed() -> None:
    one, other = Open(500, 2), Open(500, 2)
    assert np.array_equal(arrivals_s(one, seed=3), arrivals_s(other, seed=3))
    assert not np.array_equal(arrivals_s(one, seed=3), arrivals_s(other, seed=4))


@pytest.mark.parametrize("shares", [1, 2, 5])
def test_shares_of_a_constant_rate_make_the_whole(shares: int) -> None:
    scenario = Open(200, 2, "constant")
    parts = [arrivals_s(scenario, 1, share, shares) for share in range(shares)]
    assert np.sort(np.concatenate(parts)) == pytest.approx(np.arange(0, 2, 1 / 200))


def test_shares_of_a_poisson_rate_add_up() -> None:
    parts = [arrivals_s(Open(900, 20), 1, share, 3) for share in range(3)]
    assert sum(map(len, parts)) == pytest.approx(18_000, rel=0.03)
    assert not np.array_equal(parts[0][:10], parts[1][:10])


def test_bursts_are_silent_in_between() -> None:
    at = arrivals_s(Burst(1000, 3, on_s=0.2, off_s=0.8), seed=1)
    assert (at % 1.0 <= 0.2 + 1e-9).all()
    assert len(at) == pytest.approx(600, rel=0.2)


def test_an_endless_schedule_goes_on_at_its_rate() -> None:
    at = list(islice(schedule_s(Open(100, FOREVER_S), 1), 3000))
    assert at == sorted(at)
    assert at[-1] == pytest.approx(30, rel=0.1)


@pytest.mark.parametrize("scenario", [Closed(8, 1), Open(5, 1, "constant"), Burst(10, 2), Offline(64, 1)])
def test_scenarios_survive_json(scenario: Closed | Open | Burst | Offline) -> None:
    assert from_fields(to_fields(scenario)) == scenario


def test_names_are_those_of_the_report() -> None:
    assert [s.name for s in PROFILES["quick"].scenarios] == ["single_stream", "closed-8", "closed-32", "open"]
    assert [s.name for s in PROFILES["full"].scenarios][4:] == ["burst", "offline"]


def test_a_rate_is_changed_everywhere() -> None:
    changed = [at_rate(scenario, 50) for scenario in PROFILES["full"].scenarios]
    rates = {s.name: s.rate_rps for s in changed if isinstance(s, (Open, Burst))}
    assert rates == {"open": 50, "burst": 100}


def test_an_unknown_profile_is_refused() -> None:
    with pytest.raises(StageError, match="no profile 'fast': choose from smoke, quick, full"):
        find_profile("fast")
