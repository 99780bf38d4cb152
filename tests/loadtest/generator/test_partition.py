"""A run divided among workers is the same run: no user, no request lost or doubled."""

from __future__ import annotations

import numpy as np
import pytest

from loadtest.generator.partition import joined, part_of
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


def test_gathered_rows_are_in_the_order_of_their_sends() -> None:
    parts = [
        {"intended_us": np.array([1.0, 5.0]), "outcome": np.array([0, 1])},
        {"intended_us": np.array([2.0, 4.0]), "outcome": np.array([2, 3])},
    ]
    table = joined(parts)
    assert table["intended_us"].tolist() == [1.0, 2.0, 4.0, 5.0]
    assert table["outcome"].tolist() == [0, 2, 3, 1]
