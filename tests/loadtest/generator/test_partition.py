"""A run divided among workers is the same run: no user, no request lost or doubled."""

from __future__ import annotations

import numpy as np
import pytest

from loadtest.generator.partition import interleaved, joined, part_of
from loadtest.scenarios import Closed, Offline, Open, arrivals_s


@pytest.mark.parametrize(("users", "workers"), [(1, 2), (8, 2), (32, 3), (2, 5)])
def test_users_of_a_closed_loop_are_divided(users: int, workers: int) -> None:
    shares = [part_of(Closed(users, 1.0), worker, workers) for worker in range(workers)]
    counts = [share.users for share in shares if share is not None]
    assert sum(counts) == users
    assert max(counts) - min(counts) <= 1


def test_offline_is_the_first_workers_alone() -> None:
    assert [part_of(Offline(64, 1.0), worker, 3) for worker in range(3)] == [Offline(64, 1.0), None, None]


def test_rate_of_an_open_loop_is_shared() -> None:
    scenario = Open(1000.0, 20.0)
    assert all(part_of(scenario, worker, 4) == scenario for worker in range(4))
    sends = sum(len(arrivals_s(scenario, seed=1, share=worker, shares=4)) for worker in range(4))
    assert sends == pytest.approx(20_000, rel=0.05)


def test_joined_rows_are_in_the_order_of_their_sends() -> None:
    parts = [
        {"intended_us": np.array([1.0, 5.0]), "outcome": np.array([0, 1]), "user": np.array([0, 1])},
        {"intended_us": np.array([2.0, 4.0]), "outcome": np.array([2, 3]), "user": np.array([0, 1])},
    ]
    table = joined(parts)
    assert table["intended_us"].tolist() == [1.0, 2.0, 4.0, 5.0]
    assert table["outcome"].tolist() == [0, 2, 3, 1]
    assert len(set(table["user"].tolist())) == 4


def test_endpoints_alternate_scenario_by_scenario() -> None:
    order = list(interleaved([[3, 3], [3, 3], [3, 3]], seed=1))
    assert len(order) == len(set(order)) == 18
    for start in range(0, 18, 3):  # neighbours: every endpoint once, under the same scenario
        sweep = order[start : start + 3]
        assert {endpoint for endpoint, _, _ in sweep} == {0, 1, 2}
        assert len({(run, block) for _, run, block in sweep}) == 1
    assert len({tuple(e for e, _, _ in order[start : start + 3]) for start in range(0, 18, 3)}) > 1


def test_a_run_with_fewer_blocks_sits_out_evenly() -> None:
    order = [run for _, run, _ in interleaved([[4, 2]], seed=1)]
    assert order == [0, 0, 1, 0, 0, 1]


def test_a_missing_run_leaves_the_others_as_they_are() -> None:
    assert sorted(interleaved([[2], [], [1, 1]], seed=3)) == [(0, 0, 0), (0, 0, 1), (2, 0, 0), (2, 1, 0)]
