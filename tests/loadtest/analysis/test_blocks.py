"""The figures of a block: throughput without bias whatever the model, latencies from the intended send, failures.

The rows come from a server that is simulated event by event, so that its capacity is known.
"""

from __future__ import annotations

import numpy as np
import pytest

from loadtest.analysis.blocks import block_of, closed_throughput, log_figures
from loadtest.analysis.run_metrics import measured
from loadtest.raw_times import FAILED, RIGHT, Table
from loadtest.scenarios import Closed

LOADS = [
    (users, batch, service_s)
    for users in (1, 8, 32, 64)
    for batch in (1, 7, 32, 64)
    for service_s in (50e-6, 2e-3, 0.4, 2.0)
]


def closed_loop(
    users: int,
    batch: int,
    service_s: float,
    until_s: float,
    *,
    lead_in_s: float = 0.0,
    spread: float = 0.0,
    seed: int = 1,
) -> Table:
    """The rows of `users` that send again when answered; up to `batch` waiting ones are answered in one run.

    A run takes `service_s`, lognormal with `spread`. The load goes on until every user has an answer after `until_s`.
    """
    random = np.random.default_rng(seed)
    sent = np.full(users, -lead_in_s)
    waiting, clock_s = list(random.permutation(users)), -lead_in_s
    answers, closed = np.zeros(users, int), np.zeros(users, bool)
    rows: list[tuple[float, float, int]] = []
    while waiting:  # once all are closed, what was sent is still answered
        taken, waiting = waiting[:batch], waiting[batch:]
        clock_s += service_s * float(np.exp(random.normal(0, spread) - spread**2 / 2))
        rows += [(sent[user], clock_s, user) for user in taken]
        answers[taken] += clock_s >= 0
        closed[taken] = (clock_s >= until_s) & (answers[taken] > 1)
        sent[taken] = clock_s
        waiting += [] if closed.all() else taken
    intended, done, user = (np.array(column) for column in zip(*rows, strict=True))
    outcome = np.full(len(rows), RIGHT, np.uint8)
    return {
        "intended_us": intended * 1e6,
        "sent_us": intended * 1e6,
        "done_us": done * 1e6,
        "user": user,
        "outcome": outcome,
    }


@pytest.mark.parametrize(("users", "batch", "service_s"), LOADS)
def test_throughput_of_a_steady_server_is_its_capacity(users: int, batch: int, service_s: float) -> None:
    capacity_rps = min(users, batch) / service_s
    cycle_s = users / capacity_rps
    for share in (0.3, 1.0, 1.7, 4.4):  # the block's time is up anywhere in a cycle
        table = closed_loop(users, batch, service_s, share * cycle_s)
        assert closed_throughput(table, share * cycle_s, users) == pytest.approx(capacity_rps, rel=0.03)


@pytest.mark.parametrize(("users", "batch"), [(1, 1), (8, 1), (32, 1), (32, 8), (32, 32), (32, 64)])
def test_throughput_of_an_irregular_server_has_no_bias(users: int, batch: int) -> None:
    rates = []
    for seed in range(120):
        table = closed_loop(users, batch, 0.01, 0.25, lead_in_s=0.05, spread=0.5, seed=seed)
        rates.append(closed_throughput(table, 0.25, users))
    assert np.mean(np.array(rates, float)) == pytest.approx(min(users, batch) / 0.01, rel=0.03)


@pytest.mark.parametrize(("users", "batch", "service_s"), [(1, 1, 0.1), (32, 32, 0.05), (32, 8, 0.01)])
def test_blocks_of_few_unequal_cycles_have_no_bias_together(users: int, batch: int, service_s: float) -> None:
    seconds, capacity = max(0.25, 4 * service_s), min(users, batch) / service_s
    blocks = [
        {**closed_loop(users, batch, service_s, seconds, lead_in_s=0.3, spread=1.0, seed=seed)} for seed in range(800)
    ]
    tables = [{**rows, "block": np.full(len(rows["user"]), number)} for number, rows in enumerate(blocks)]
    table = {name: np.concatenate([rows[name] for rows in tables]) for name in tables[0]}
    run = measured(Closed(users, seconds), table, len(blocks), target_ms=1e9)
    assert run["throughput_rps"] == pytest.approx(capacity, rel=0.05)
    assert run["goodput_rps"] == run["throughput_rps"]
    mean_of_rates = np.mean([closed_throughput(rows, seconds, users) or 0.0 for rows in blocks])
    assert users > 1 or mean_of_rates > 1.15 * capacity


def test_long_requests_are_not_cut_off_by_the_end_of_a_block() -> None:
    random, latencies = np.random.default_rng(1), []
    for seed in range(1500):  # one user, lognormal service of 0.1 s in the mean
        rows = closed_loop(1, 1, 0.1, 0.4, lead_in_s=float(random.uniform(0.2, 0.3)), spread=1.0, seed=seed)
        latencies.append(block_of(rows, 0.0, 0.4, 1, target_ms=1e9).latencies_ms)
    pooled = np.concatenate(latencies)
    assert np.quantile(pooled, 0.5) == pytest.approx(100 * np.exp(-0.5), rel=0.04)
    assert np.quantile(pooled, 0.95) == pytest.approx(100 * np.exp(1.645 - 0.5), rel=0.06)


def test_a_server_that_prefers_some_users_is_measured_rightly() -> None:
    moments = {0: np.arange(1, 40) * 0.5, 1: np.arange(1, 6) * 4.0}  # 2 answers a second, and one in four
    rows = [(moment - gap, moment, user) for user, gap in ((0, 0.5), (1, 4.0)) for moment in moments[user]]
    intended, done, user = (
        np.array(column) * scale for column, scale in zip(zip(*rows, strict=True), (1e6, 1e6, 1), strict=True)
    )
    outcome = np.zeros(len(rows), np.uint8)
    table = {"intended_us": intended, "sent_us": intended, "done_us": done, "user": user, "outcome": outcome}
    kept = {name: column[done <= 8.5e6] for name, column in table.items()}
    assert closed_throughput(kept, 0.5, 2) == pytest.approx(2.25, rel=0.06)


def test_a_count_up_to_a_fixed_end_would_be_wrong() -> None:
    table = closed_loop(32, 32, 0.7, 0.9)
    assert (table["done_us"] <= 0.9e6).sum() / 0.9 == pytest.approx(35.6, rel=0.01)
    assert closed_throughput(table, 0.9, 32) == pytest.approx(32 / 0.7)


def test_failures_are_counted_and_are_no_throughput() -> None:
    table = closed_loop(4, 1, 0.01, 0.5)
    table["outcome"][::2] = FAILED
    block = block_of(table, 0.0, 0.5, 4, target_ms=1000.0)
    assert block.failures == pytest.approx(block.requests / 2, abs=1)
    assert block.throughput_rps == pytest.approx(50, rel=0.05)
    assert len(block.latencies_ms) == block.requests - block.failures


def test_what_leads_in_and_what_keeps_the_load_up_does_not_count() -> None:
    table = closed_loop(8, 1, 0.01, 0.5, lead_in_s=0.3)
    block = block_of(table, 0.0, 0.5, 8, target_ms=1000.0)
    assert len(table["done_us"]) > 80
    assert block.requests == 50


def test_a_loop_without_a_whole_cycle_has_no_throughput() -> None:
    table = closed_loop(4, 4, 1.0, 0.5)
    kept = {name: column[:4] for name, column in table.items()}
    assert closed_throughput(kept, 0.5, 4) is None


def test_an_open_loop_counts_by_the_schedule() -> None:
    sent = np.arange(-10, 60) * 1e4
    rows = {"intended_us": sent, "sent_us": sent, "done_us": sent + 3e3, "user": np.zeros(70, int)}
    block = block_of({**rows, "outcome": np.zeros(70, np.uint8)}, 0.0, 0.5, 0, target_ms=2.0)
    assert (block.requests, block.throughput_rps, block.goodput_rps) == (50, 100.0, 0.0)


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_percentiles_of_short_blocks_average_to_that_of_all(share: float) -> None:
    random = np.random.default_rng(3)
    blocks = [block_of(open_rows(random.lognormal(0, 0.5, 30)), number, 1.0, 0, target_ms=9.0) for number in range(40)]
    pooled = np.concatenate([block.latencies_ms for block in blocks])
    figures = log_figures(blocks, "latency", share)
    assert np.exp(figures.mean()) == pytest.approx(np.quantile(pooled, share), rel=0.05)


def open_rows(latencies_ms: np.ndarray) -> Table:
    """Rows of an open loop with these latencies, all within its first second."""
    sent = np.linspace(0, 9e5, len(latencies_ms))
    zeros = np.zeros(len(sent), np.uint8)
    return {"intended_us": sent, "sent_us": sent, "done_us": sent + latencies_ms * 1e3, "user": zeros, "outcome": zeros}
