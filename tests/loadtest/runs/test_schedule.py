"""How the time is filled with blocks: for models of 50 µs and of seconds, with fourteen endpoints and with one."""

from __future__ import annotations

import pytest

from loadtest.analysis.schedule import Blocks, Schedule
from loadtest.runs.schedule import OPEN_SHARE, Probe, open_load, plan_blocks, starts_for
from loadtest.scenarios import PROFILES

FAST, SLOW = Probe(8000.0, 0.0003), Probe(2.2, 0.46)
QUICK, FULL = PROFILES["quick"], PROFILES["full"]


def named(count: int, probe: Probe) -> dict[str, Probe]:
    return {f"s/a{number}/rest": probe for number in range(count)}


def rows(schedule: Schedule) -> list[Blocks]:
    return [row for blocks in schedule.blocks.values() for row in blocks]


def test_fourteen_fast_endpoints_get_many_short_blocks() -> None:
    schedule = plan_blocks(QUICK, named(14, FAST), budget_s=120.0, starts=2)
    assert {row.seconds for row in rows(schedule)} == {0.2, 0.25, 0.4}
    assert min(row.count for row in rows(schedule) if row.scenario != "closed-8") >= 5
    assert all(not row.reason for row in rows(schedule))


@pytest.mark.parametrize(("probe", "endpoints"), [(FAST, 14), (SLOW, 3), (SLOW, 14), (FAST, 1)])
def test_the_time_is_kept(probe: Probe, endpoints: int) -> None:
    schedule = plan_blocks(FULL, named(endpoints, probe), budget_s=300.0, starts=4)
    cycle = {"single_stream": 1, "closed-8": 8, "closed-32": 32, "offline": 64}
    spent = sum(
        row.count * (row.lead_in_s + max(row.seconds, cycle.get(row.scenario, 0) / probe.capacity_rps))
        for row in rows(schedule)
    )
    assert spent <= 300.0


def test_a_slow_model_gets_longer_blocks() -> None:
    schedule = plan_blocks(QUICK, named(1, SLOW), budget_s=150.0, starts=2)
    alone = next(row for row in rows(schedule) if row.scenario == "single_stream")
    assert alone.seconds >= 4 * 0.45
    assert alone.count > 1


def test_what_does_not_fit_is_left_out_and_said() -> None:
    schedule = plan_blocks(QUICK, named(14, SLOW), budget_s=100.0, starts=2)
    left_out = [row for row in rows(schedule) if not row.count]
    assert left_out
    assert all(row.reason.startswith("no time: a block takes ") for row in left_out)
    kept = {row.scenario for row in rows(schedule) if row.count}
    assert "single_stream" in kept


def test_a_slow_endpoint_leaves_the_fast_ones_their_blocks() -> None:
    schedule = plan_blocks(QUICK, {**named(5, FAST), "slow": SLOW}, budget_s=150.0, starts=2)
    fast = [row.count for row in schedule.blocks["s/a0/rest"] if row.scenario == "closed-32"]
    slow = [row.count for row in schedule.blocks["slow"] if row.scenario == "closed-32"]
    assert fast[0] > 5 * slow[0] > 0


def test_the_open_load_is_a_share_of_the_weakest_endpoint() -> None:
    load = open_load({"fast": FAST, "slow": SLOW})
    assert (load.chosen_by, load.weakest, load.share) == ("share", "slow", OPEN_SHARE)
    assert load.rate_rps == pytest.approx(OPEN_SHARE * 2.2)


def test_the_users_rate_is_taken() -> None:
    schedule = plan_blocks(FULL, named(2, FAST), budget_s=100.0, starts=4, rate_rps=70.0)
    assert schedule.open_load is not None
    assert (schedule.open_load.rate_rps, schedule.open_load.chosen_by) == (70.0, "user")
    rates = {row.scenario: row.rate_rps for row in rows(schedule) if row.rate_rps}
    assert rates == {"open": 70.0, "burst": 140.0}


@pytest.mark.parametrize(("endpoints", "starts"), [(14, 2), (10, 2), (5, 3), (3, 5), (1, 6)])
def test_few_endpoints_are_started_more_often(endpoints: int, starts: int) -> None:
    assert starts_for(QUICK, endpoints) == starts
    assert starts_for(PROFILES["smoke"], endpoints) == 1
    assert starts_for(FULL, 14) == 4
