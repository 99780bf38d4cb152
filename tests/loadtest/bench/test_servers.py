"""The servers' benchmark without its servers: thresholds and tables from made-up rows, groups, another checkout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from contract import MODEL_REPOSITORY, StageError
from loadtest.bench import servers as bench_servers
from loadtest.bench.against import elsewhere, ratios
from loadtest.bench.system import System
from loadtest.bench.table import rows_table, tables, thresholds_table
from loadtest.bench.thresholds import GENUINE_BATCH_32_US, judge
from serving.server import Call, Launch


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
        "traffic": "constant",
        "failures": 0,
        "wrong_answers": 0,
        "generator_share": 0.4,
        **figures[0],
        **more,
    }
    return {"name": name, "payload": payload, "rounds": figures, **plain}


def threshold(judged: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(row for row in judged if row["name"] == name)


def test_a_ratio_is_taken_round_by_round() -> None:
    rows = [row("ours", "binary", (900, 80, 700)), row("ceiling", "binary", (1000, 100, 1000))]
    result = threshold(judge(rows), "ours, binary / ceiling (own)")
    assert (result["median"], result["lowest"], result["highest"], result["met"]) == (0.8, 0.7, 0.9, True)


def test_a_missed_threshold_says_so() -> None:
    rows = [row("ours", "binary", (500,)), row("ceiling", "binary", (1000,))]
    result = threshold(judge(rows), "ours, binary / ceiling (own)")
    assert result["met"] is False
    assert "| ours, binary / ceiling (own) | at least 0.8 | 0.500 (0.500 to 0.500) | **no** |" in thresholds_table(
        [result]
    )


def test_a_threshold_without_its_rows_is_neither_met_nor_missed() -> None:
    result = threshold(judge([row("ours", "binary", (500,))]), "ours, binary / ceiling (own)")
    assert (result["median"], result["met"]) == (None, None)
    assert "not measured | - |" in thresholds_table([result])


def test_the_best_peer_of_each_round_counts() -> None:
    peers = {"litserve": (100, 10), "mlserver": (10, 200), "bentoml": (10, 10)}
    rows = [row(name, "json", rates) for name, rates in peers.items()]
    result = threshold(
        judge([*rows, row("ours", "json", (400, 400))]), "ours, JSON / best of LitServe, MLServer, BentoML"
    )
    assert (result["lowest"], result["highest"], result["median"], result["met"]) == (2.0, 4.0, 3.0, False)


def test_the_genuine_server_is_scaled_by_in_process() -> None:
    half_as_fast = {"artifact": "tensorflow-savedmodel", "batch_size": 32, "rounds_ms": [2 * GENUINE_BATCH_32_US / 1e3]}
    judged = judge([row("tfserving", "json", (3296 / 2,))], [half_as_fast])
    assert threshold(judged, "tfserving, JSON / genuine server's default, scaled by in-process (own)")["median"] == 1.0


def test_wrong_answers_are_never_met() -> None:
    rows = [row("ours", "json", (1,)), row("tflite", "json", (1,), wrong_answers=3)]
    assert threshold(judge(rows), "wrong answers, all rows")["met"] is False
    unchecked = [row("grpc-echo", "grpc", (1,), wrong_answers=None)]
    assert threshold(judge(unchecked), "wrong answers, all rows")["met"] is None


def test_latency_thresholds_are_upper_bounds() -> None:
    rows = [row("ours", "binary", (100,), connections=1), row("ceiling", "binary", (200,), connections=1)]
    result = threshold(judge(rows), "one connection, binary: p50 / ceiling's")
    assert (result["median"], result["at_most"], result["met"]) == (2.0, True, False)
    assert threshold(judge([row("tflite", "grpc", (5,))]), "tflite, grpc: p99 / p50")["met"] is True


def test_wrk_has_thresholds_of_its_own_where_it_ran() -> None:
    rows = [row(name, "binary", (1000,), generator="wrk") for name in ("ours", "ceiling")]
    assert threshold(judge(rows), "ours, binary / ceiling (wrk)")["met"] is True
    assert not [row for row in judge([]) if "(wrk)" in row["name"]]


def test_the_table_has_a_line_for_each_generator() -> None:
    rows = [row("ours", "json", (1234,), connections=n) for n in (1, 32)]
    rows.append(row("ours", "json", (1111,), traffic="changing"))
    rows.append(row("ours", "json", (2345,), generator="wrk", wrong_answers=None))
    lines = rows_table(rows).splitlines()
    assert lines[2] == "| ours | json | own | 1,234 | - | 1,234 | 1,111 | 0.81 / 1.62 | 0.81 / 1.62 | 0 | 0 |"
    assert lines[3] == "| ours | json | wrk | - | - | 2,345 | - | - | 0.43 / 0.85 | - | 0 |"


def test_what_changing_requests_cost_is_stated_for_every_system() -> None:
    rows = [row("a", "json", (1000, 1000)), row("a", "json", (900, 800), traffic="changing"), row("b", "json", (1,))]
    judged = judge(rows)
    result = threshold(judged, "a, json: changing requests / constant")
    assert (result["median"], result["lowest"], result["highest"], result["met"]) == (0.85, 0.8, 0.9, None)
    assert not [row for row in judged if row["name"].startswith("b, json")]


def system(name: str, argv: tuple[str, ...] = ()) -> System:
    return System(name, lambda *_: Launch(argv), (), lambda *_: Call("/", b""))


def test_systems_that_are_compared_are_up_together_and_the_others_alone() -> None:
    names = ("tflite", "ours", "ceiling", "tfserving", "tfserving-batching")
    known = {name: system(name) for name in names}
    chosen = [[member.name for member in group] for group in bench_servers.groups(names[:4], known)]
    assert chosen == [["ours", "ceiling"], ["tfserving"], ["tflite"]]
    with pytest.raises(StageError, match="no system 'nobody': choose from tflite, ours"):
        bench_servers.groups(["nobody"], known)


def test_the_committed_result_can_be_printed_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench_servers.main(["--table", "--output", str(tmp_path / "none.json")]) == 2
    assert "run `make bench-servers`" in capsys.readouterr().err
    (tmp_path / "old.json").write_text('{"contenders": []}')
    assert bench_servers.main(["--table", "--output", str(tmp_path / "old.json")]) == 2
    assert "old.json is of an older version: run `make bench-servers`" in capsys.readouterr().err
    machine = {"machine": {"cpu": "a", "cores": 2}, "pinning": {"server_cpus": [0], "client_cpus": [1]}}
    rows = [row("ours", "json", (10,))]
    result = {"systems": rows, "thresholds": judge(rows), "in_process": [], "missing": {"x": "why\nso"}, "note": "N."}
    result |= {"environment": {**machine, "git_commit": "c"}, "rounds": 1, "seconds": 1.0, "warm_up_s": 0.5}
    (tmp_path / "some.json").write_text(json.dumps(result))
    assert bench_servers.main(["--table", "--output", str(tmp_path / "some.json")]) == 0
    assert capsys.readouterr().out == tables(result) + "\n"


def test_a_server_of_another_checkout_has_its_code_and_its_artifacts(tmp_path: Path) -> None:
    repository = tmp_path / "artifacts" / "model_repository"
    (repository / "pytorch-onnx").mkdir(parents=True)
    (tmp_path / "serving").mkdir()
    argv = ("python", "-m", "serving.servers.onnxruntime", "--model-repository", str(MODEL_REPOSITORY))
    there = elsewhere(system("ours", argv), tmp_path)
    launch = there.launch({}, tmp_path)
    assert there.name == f"ours in {tmp_path.name}"
    assert (launch.cwd, launch.argv[-1]) == (tmp_path, str(repository))
    with pytest.raises(StageError, match="no server of this project: choose from ours, tflite"):
        elsewhere(system("litserve", ("litserve",)), tmp_path).launch({}, tmp_path)
    with pytest.raises(StageError, match="no checkout with pytorch-onnx"):
        elsewhere(system("ours"), tmp_path / "serving")


def test_the_ratio_to_another_checkout_is_taken_round_by_round() -> None:
    rows = [row("ours", "json", (900, 80, 700)), row("ours in base", "json", (1000, 100, 1000))]
    line = ratios(rows, [("ours", "ours in base")]).splitlines()[2]
    assert line == "| ours | json | constant | own | 32 | 900 | 1,000 | 0.800 (0.700 to 0.900) |"
