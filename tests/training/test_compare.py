"""The comparison of modes: one list of modes everywhere, ratios from the rounds, a reason where a mode can't run."""

from __future__ import annotations

import argparse
import ast
import json

import pytest

from contract import FRAMEWORKS, ROOT
from training.compare import INFERENCE_MODES, MODES, planned, summed_up, table

GIVEN = argparse.Namespace(frameworks=["pytorch"], rounds=2, seed=1, target_accuracy=0.98, steps=100)
COUNTS = [
    {"framework": "pytorch", "mode": "reference", "steps_to_target": 1000, "test_accuracy": 0.981, "peak_rss_bytes": 5},
    {"framework": "pytorch", "mode": "eager", "steps_to_target": 1500, "test_accuracy": 0.982, "peak_rss_bytes": 6},
    {"framework": "pytorch", "mode": "compile", "missing": "torch.compile needs a C++ compiler: install g++"},
]
SPEEDS = [
    {"framework": "pytorch", "mode": mode, "round": number, "seconds_per_step": seconds, "seconds_per_epoch": 1.0}
    | {"images_per_s": 32 / seconds, "first_step_s": 0.1}
    for number, mode, seconds in [
        (1, "reference", 0.03),
        (1, "eager", 0.005),
        (2, "reference", 0.06),
        (2, "eager", 0.01),
    ]
]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_every_list_of_modes_is_the_twins_own(framework):
    tree = ast.parse((ROOT / f"training/train_{framework}.py").read_text())
    constants = {node.targets[0].id: node.value for node in tree.body if isinstance(node, ast.Assign)}
    assert ast.literal_eval(constants["MODES"]) == MODES[framework]
    assert ast.literal_eval(constants["INFERENCE_MODES"]) == INFERENCE_MODES[framework]


def test_speedup_is_the_ratio_of_seconds_to_the_target_round_by_round():
    rows = {row["mode"]: row for row in summed_up(COUNTS, SPEEDS, [], GIVEN)["modes"]}
    assert rows["reference"]["seconds_to_target"] == 45  # 1,000 steps of 30 ms and of 60 ms
    assert rows["eager"]["speedups"] == [4.0, 4.0]
    assert rows["eager"]["speedup"] == 4
    assert rows["reference"]["speedup"] == 1


def test_a_mode_that_cannot_run_says_why_in_its_row():
    result = summed_up(COUNTS, SPEEDS, [], GIVEN)
    line = next(line for line in table(result).splitlines() if "compile" in line)
    assert line.endswith("torch.compile needs a C++ compiler: install g++")


def test_a_mode_that_misses_the_target_has_no_seconds_to_it():
    counts = [COUNTS[0], COUNTS[1] | {"steps_to_target": None}]
    row = next(row for row in summed_up(counts, SPEEDS, [], GIVEN)["modes"] if row["mode"] == "eager")
    assert (row["seconds_to_target"], row["speedup"]) == (None, None)
    assert "n/a" in table(summed_up(counts, SPEEDS, [], GIVEN))


def test_known_counts_are_not_made_again():
    plan = planned(GIVEN, COUNTS[:1])
    assert [entry for entry in plan if entry[0] == "count"] == [("count", "pytorch", m) for m in ("eager", "compile")]
    timed = [("inference", "pytorch", mode) for mode in INFERENCE_MODES["pytorch"]] + [
        ("turns", "pytorch", "reference")
    ]
    assert sorted(plan[2:]) == sorted(timed)


def test_modes_take_turns_in_an_order_of_their_own(run_python):
    said = run_python("-m", "training.measure", "turns", "pytorch", "--steps", "2", "--rounds", "3")
    turns = json.loads(said.splitlines()[-1])["turns"]
    orders = [[turn["mode"] for turn in turns if turn["round"] == number] for number in (1, 2, 3)]
    assert all(sorted(order) == sorted(orders[0]) for order in orders)
    assert {"reference", "eager"} <= set(orders[0])
    assert all(turn["images_per_s"] == pytest.approx(32 / turn["seconds_per_step"]) for turn in turns)
