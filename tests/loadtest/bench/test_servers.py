"""The servers' benchmark without its servers: bars, tables and chart from made-up rows; the generator's own checks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from contract import StageError
from loadtest.bench import servers as bench_servers
from loadtest.bench import wrk as bench_wrk
from loadtest.bench.chart import draw
from loadtest.bench.closed_loop import Plan, run
from loadtest.bench.systems import Contender
from loadtest.bench.table import bars_table, rows_table, tables
from loadtest.bench.thresholds import GENUINE_BATCH_32_US, judge
from loadtest.client.requests import http1_request
from loadtest.runs.calibration import null_server
from serving.server import Call, Launch

ANSWER = b'{"outputs": [{"data": [0.25, 0.75]}]}'


def row(name: str, payload: str, rates: tuple[float, ...], **more: Any) -> dict[str, Any]:
    """A row of the result whose latencies follow from its rates."""
    figures = [
        {
            "requests_per_s": r,
            "p50_ms": 1e3 / r,
            "p99_ms": 2e3 / r,
            "server_cpu_us_per_request": 1e6 / r,
            "rss_bytes": 1e8,
        }
        for r in rates
    ]
    plain = {
        "connections": 32,
        "generator": "own",
        "failures": 0,
        "wrong_answers": 0,
        "generator_share": 0.4,
        **figures[0],
        **more,
    }
    return {"name": name, "payload": payload, "rounds": figures, **plain}


def bar(found: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(one for one in found if one["name"] == name)


def test_a_ratio_is_taken_round_by_round() -> None:
    rows = [row("ours", "binary", (900, 80, 700)), row("ceiling", "binary", (1000, 100, 1000))]
    found = bar(judge(rows), "ours, binary / ceiling (own)")
    assert (found["found"], found["lowest"], found["highest"], found["met"]) == (0.8, 0.7, 0.9, True)


def test_a_bar_that_is_missed_says_so() -> None:
    rows = [row("ours", "binary", (500,)), row("ceiling", "binary", (1000,))]
    found = bar(judge(rows), "ours, binary / ceiling (own)")
    assert found["met"] is False
    assert "| ours, binary / ceiling (own) | at least 0.8 | 0.500 (0.500 to 0.500) | **no** |" in bars_table([found])


def test_a_bar_without_its_rows_is_neither_met_nor_missed() -> None:
    found = bar(judge([row("ours", "binary", (500,))]), "ours, binary / ceiling (own)")
    assert (found["found"], found["met"]) == (None, None)
    assert "not measured | - |" in bars_table([found])


def test_the_best_peer_of_each_round_counts() -> None:
    peers = {"litserve": (100, 10), "mlserver": (10, 200), "bentoml": (10, 10)}
    rows = [row(name, "json", rates) for name, rates in peers.items()]
    found = bar(judge([*rows, row("ours", "json", (400, 400))]), "ours, JSON / best of LitServe, MLServer, BentoML")
    assert (found["lowest"], found["highest"], found["found"], found["met"]) == (2.0, 4.0, 3.0, False)


def test_the_genuine_server_is_scaled_by_the_yardstick() -> None:
    half_as_fast = {"artifact": "tensorflow-savedmodel", "batch_size": 32, "rounds_ms": [2 * GENUINE_BATCH_32_US / 1e3]}
    found = judge([row("tfserving", "json", (3296 / 2,))], [half_as_fast])
    assert bar(found, "tfserving, JSON / genuine server's default, scaled by the yardstick (own)")["found"] == 1.0


def test_wrong_answers_are_never_met() -> None:
    rows = [row("ours", "json", (1,)), row("tflite", "json", (1,), wrong_answers=3)]
    assert bar(judge(rows), "wrong answers, all rows")["met"] is False
    unchecked = [row("grpc-echo", "grpc", (1,), wrong_answers=None)]
    assert bar(judge(unchecked), "wrong answers, all rows")["met"] is None


def test_latency_bars_are_upper_bounds() -> None:
    rows = [row("ours", "binary", (100,), connections=1), row("ceiling", "binary", (200,), connections=1)]
    found = bar(judge(rows), "one connection, binary: p50 / ceiling's")
    assert (found["found"], found["at_most"], found["met"]) == (2.0, True, False)
    assert bar(judge([row("tflite", "grpc", (5,))]), "tflite, grpc: p99 / p50")["met"] is True


def test_wrk_has_bars_of_its_own_where_it_ran() -> None:
    rows = [row(name, "binary", (1000,), generator="wrk") for name in ("ours", "ceiling")]
    assert bar(judge(rows), "ours, binary / ceiling (wrk)")["met"] is True
    assert not [one for one in judge(rows[:0]) if "(wrk)" in one["name"]]


def test_the_table_has_a_line_for_each_generator() -> None:
    rows = [row("ours", "json", (1234,), connections=n) for n in (1, 32)]
    rows.append(row("ours", "json", (2345,), generator="wrk", wrong_answers=None))
    lines = rows_table(rows).splitlines()
    assert lines[2] == "| ours | json | own | 1,234 | - | 1,234 | 0.81 / 1.62 | 0.81 / 1.62 | 0 | 0 |"
    assert lines[3] == "| ours | json | wrk | - | - | 2,345 | - | 0.43 / 0.85 | - | 0 |"


def test_the_chart_shows_every_server_and_no_variant() -> None:
    rows = [row(name, "json", (rate,), connections=n) for name, rate in (("ours", 9), ("a<b", 5)) for n in (1, 32)]
    root = ElementTree.fromstring(draw([*rows, row("ours-2-workers", "json", (7,))]))
    texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"JSON", "ours", "a<b", "9", "5"} <= set(texts)
    assert "ours-2-workers" not in texts
    assert draw([]).startswith("<svg")


def test_rivals_are_up_together_and_everybody_else_alone() -> None:
    names = ("tflite", "ours", "ceiling", "tfserving", "tfserving-batching")
    everybody = {n: Contender(n, lambda *_: Launch(()), (), lambda *_: Call("/", b"")) for n in names}
    found = [[one.name for one in group] for group in bench_servers.groups(names[:4], everybody)]
    assert found == [["ours", "ceiling"], ["tfserving"], ["tflite"]]
    with pytest.raises(StageError, match="no contender 'nobody': choose from tflite, ours"):
        bench_servers.groups(["nobody"], everybody)


def test_the_committed_result_can_be_told_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench_servers.main(["--table", "--output", str(tmp_path / "none.json")]) == 2
    assert "run `make bench-servers`" in capsys.readouterr().err
    machine = {"machine": {"cpu": "a", "cores": 2}, "pinning": {"server_cpus": [0], "client_cpus": [1]}}
    rows = [row("ours", "json", (10,))]
    result = {"contenders": rows, "bars": judge(rows), "in_process": [], "missing": {"x": "why\nso"}, "note": "N."}
    result |= {"environment": {**machine, "git_commit": "c"}, "rounds": 1, "seconds": 1.0, "warm_up_s": 0.5}
    (tmp_path / "some.json").write_text(json.dumps(result))
    assert bench_servers.main(["--table", "--output", str(tmp_path / "some.json")]) == 0
    assert capsys.readouterr().out == tables(result) + "\n"


@pytest.mark.parametrize(("expected", "wrong"), [((0.25, 0.75), False), ((0.75, 0.25), True)])
def test_the_generator_looks_into_every_answer(tmp_path: Path, expected: tuple[float, float], wrong: bool) -> None:
    requests = [http1_request("/", {}, b"x" * 3000, "127.0.0.1")] * 2
    Plan(requests, np.array([expected] * 2, np.float32), "json").write(tmp_path / "plan.npz")
    with null_server(tmp_path, "rest", ANSWER, None) as (_, port):
        found = run(Plan.read(tmp_path / "plan.npz"), port, 4, 0.2, 0.1)
    assert found["requests"] > 10
    assert found["failures"] == 0
    assert found["wrong_answers"] == (found["answers"] if wrong else 0)


@pytest.mark.parametrize("fault", ["wrong", "close"])
def test_the_generator_counts_what_goes_wrong(tmp_path: Path, fault: str) -> None:
    plan = Plan([http1_request("/", {}, b"x", "127.0.0.1")], np.array([[0.25, 0.75]], np.float32), "json")
    with null_server(tmp_path, "rest", ANSWER, None, ("--fault", fault, "--fault-after", "20")) as (_, port):
        found = run(plan, port, 2, 0.2, 0.0)
    assert found["failures" if fault == "close" else "wrong_answers"] > 0


def test_the_generator_speaks_grpc(tmp_path: Path) -> None:
    from serving import protos

    answer = protos.message("inference.ModelInferResponse")()
    answer.raw_output_contents.append(np.array([0.25, 0.75], np.float32).tobytes())
    expected = np.array([[0.25, 0.75]], np.float32)
    plan = Plan([b"x" * 40_000], expected, "grpc", "/inference.GRPCInferenceService/ModelInfer")
    with null_server(tmp_path, "grpc", answer.SerializeToString(), None) as (_, port):
        found = run(plan, port, 4, 0.2, 0.1)
    assert found["requests"] > 10
    assert (found["failures"], found["wrong_answers"]) == (0, 0)


@pytest.mark.skipif(not bench_wrk.is_installed(), reason="wrk is not installed")
def test_wrk_sends_the_same_requests(tmp_path: Path) -> None:
    requests = [http1_request("/", {}, bytes([n]) * 3000, "127.0.0.1") for n in range(3)]
    Plan(requests, np.zeros((3, 2), np.float32), "binary").write(tmp_path / "plan.npz")
    with null_server(tmp_path, "rest", ANSWER, None) as (_, port):
        found = bench_wrk.run(tmp_path / "plan.npz", port, 2, 0.5, None, tmp_path)
    assert found["requests"] > 100
    assert found["failures"] == 0
    assert 0 < found["p50_ms"] <= found["p99_ms"]
