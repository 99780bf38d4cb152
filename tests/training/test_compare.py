"""The comparison of modes: one list of modes everywhere, ratios from the rounds, a reason where a mode can't run."""

from __future__ import annotations

import argparse
import ast
import asyncio

import pytest

from contract import FRAMEWORKS, ROOT
from training.compare import planned, table
from training.interleaved import run_interleaved
from training.mode_figures import INFERENCE_MODES, MODES, SAME_UPDATES, summed_up

GIVEN = argparse.Namespace(frameworks=["pytorch"], rounds=2, seed=1, target_accuracy=0.98, steps=100)
COUNTS = [{"framework": "pytorch", "mode": "eager", "steps_to_target": 1500, "test_accuracy": 0.982}]
WITHOUT_COMPILER = "torch.compile needs a C++ compiler: install g++"
PIECES = [
    {"framework": "pytorch", "mode": mode, "round": number, "seconds_per_step": seconds, "seconds_per_epoch": 1.0}
    | {"images_per_s": 32 / seconds, "first_step_s": 0.1, "loss": 0.5 / number}
    for number, mode, seconds in [
        (1, "reference", 0.03),
        (1, "eager", 0.005),
        (2, "reference", 0.06),
        (2, "eager", 0.01),
    ]
] + [
    {"framework": "pytorch", "mode": "compile", "missing": WITHOUT_COMPILER},
    {"framework": "pytorch", "mode": "eager", "peak_rss_bytes": 6},
]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_every_list_of_modes_is_the_twins_own(framework):
    tree = ast.parse((ROOT / f"training/train_{framework}.py").read_text())
    constants = {node.targets[0].id: node.value for node in tree.body if isinstance(node, ast.Assign)}
    assert ast.literal_eval(constants["MODES"]) == MODES[framework]
    assert ast.literal_eval(constants["INFERENCE_MODES"]) == INFERENCE_MODES[framework]


def rows_of(counts=COUNTS, pieces=PIECES):
    return {row["mode"]: row for row in summed_up(counts, pieces, [], GIVEN)["modes"]}


def test_speedup_is_the_ratio_of_seconds_to_the_target_round_by_round():
    rows = rows_of()
    assert rows["reference"]["seconds_to_target"] == pytest.approx(67.5)  # 1,500 steps of 30 ms and of 60 ms
    assert rows["eager"]["speedups"] == pytest.approx([6.0, 6.0])
    assert rows["eager"]["speedup"] == pytest.approx(6)
    assert (rows["reference"]["speedup"], rows["reference"]["counted_by"]) == (1, "eager")
    assert rows["eager"]["peak_rss_bytes"] == 6


def test_a_mode_that_does_other_updates_has_no_count():
    pieces = [row | {"loss": row["loss"] * 1.02} if row.get("round") == 2 and row["mode"] == "reference" else row
             for row in PIECES]  # fmt: skip
    row = rows_of(pieces=pieces)["reference"]
    assert row["loss_difference"] == pytest.approx(0.02)
    assert (row["steps_to_target"], row["seconds_to_target"], row["counted_by"]) == (None, None, None)


def test_a_mode_that_cannot_run_says_why_in_its_row():
    result = summed_up(COUNTS, PIECES, [], GIVEN)
    line = next(line for line in table(result).splitlines() if "compile" in line)
    assert line.endswith(WITHOUT_COMPILER)


def test_a_mode_that_misses_the_target_has_no_seconds_to_it():
    counts = [COUNTS[0] | {"steps_to_target": None}]
    assert (rows_of(counts)["eager"]["seconds_to_target"], rows_of(counts)["eager"]["speedup"]) == (None, None)
    assert "n/a" in table(summed_up(counts, PIECES, [], GIVEN))


def test_the_plan_counts_once_per_framework_and_then_times():
    plan = planned(GIVEN)
    assert plan[0] == ("count", "pytorch", "eager")
    timed = [("inference", "pytorch", mode) for mode in INFERENCE_MODES["pytorch"]] + [("steps", "pytorch", "")]
    assert sorted(plan[1:]) == sorted(timed)


def test_modes_run_interleaved_in_random_order_and_do_the_same_updates():
    async def play():
        return [row async for row in run_interleaved("pytorch", ("reference", "eager"), 3, 2, 1, "")]

    rows = asyncio.run(play())
    pieces = [row for row in rows if "round" in row]
    orders = [[piece["mode"] for piece in pieces if piece["round"] == number] for number in (1, 2, 3)]
    assert all(sorted(order) == ["eager", "reference"] for order in orders)
    for first, second in zip(pieces[::2], pieces[1::2], strict=True):
        assert first["loss"] == pytest.approx(second["loss"], rel=SAME_UPDATES)
    assert all(piece["images_per_s"] == pytest.approx(32 / piece["seconds_per_step"]) for piece in pieces)
    assert {row["mode"]: row["peak_rss_bytes"] > 1e8 for row in rows[6:]} == {"reference": True, "eager": True}
