"""An invented comparison of 14 endpoints, built through the schema: what every test of the report reads.

`PYTHONPATH=. python tests/loadtest/example_report.py FOLDER` renders it, to look at the page without measuring.
"""

from __future__ import annotations

import sys
from pathlib import Path

from loadtest.analysis.facts import (
    Artifact,
    Case,
    Client,
    Conformance,
    Environment,
    Epoch,
    InProcess,
    Machine,
    NotExported,
    Pinning,
    Rate,
    Rates,
    Training,
)
from loadtest.analysis.figures import ColdStart, EndpointReport, Estimate, Point, Split, Start
from loadtest.analysis.schema import (
    Design,
    Family,
    OpenLoad,
    Overhead,
    Question,
    Ranked,
    Ranking,
    Report,
    Steadiness,
    Unranked,
)

INVALID = "torchserve/pytorch-torchscript/rest"
INVALID_REASON = "unstable: its speed differs from its neighbours' by up to 1.9 times"
FIGURES = {
    # answers/s with 32 users; in ms p50 of one user, p95 under open load; CPU s per 1,000; memory in MB; start in s
    "tflite/tensorflow-tflite/rest-binary": (9310, 0.405, 1.21, 0.101, 101, 0.346),
    "tflite/tensorflow-tflite/grpc": (8830, 0.411, 1.24, 0.112, 101, 0.348),
    "tflite/tensorflow-tflite/rest": (6420, 0.552, 1.71, 0.152, 104, 0.347),
    "onnxruntime/pytorch-onnx/rest-binary": (9120, 0.435, 1.30, 0.104, 174, 0.467),
    "onnxruntime/pytorch-onnx/grpc": (8610, 0.422, 1.27, 0.113, 153, 0.468),
    "onnxruntime/pytorch-onnx/rest": (6310, 0.571, 1.77, 0.155, 176, 0.466),
    "onnxruntime/tensorflow-onnx/rest-binary": (9050, 0.428, 1.33, 0.105, 174, 0.467),
    "onnxruntime/tensorflow-onnx/grpc": (8540, 0.445, 1.31, 0.115, 174, 0.469),
    "onnxruntime/tensorflow-onnx/rest": (6190, 0.569, 1.80, 0.156, 175, 0.468),
    "tfserving/tensorflow-savedmodel/grpc": (4980, 0.702, 2.21, 0.196, 612, 3.41),
    "tfserving/tensorflow-savedmodel/rest": (3880, 0.931, 2.95, 0.251, 618, 3.42),
    "torchserve/pytorch-torchscript/grpc": (1010, 2.41, 9.83, 1.27, 911, 7.83),
    "torchserve/pytorch-torchscript/rest-binary": (1120, 2.22, 8.91, 1.11, 905, 7.81),
    INVALID: (690, 3.31, 15.2, 1.63, 921, 7.86),
}
QUESTIONS = {
    "throughput": ("closed-32", "throughput_rps", 0, True),
    "latency_alone": ("single_stream", "p50_ms", 1, False),
    "latency_open": ("open", "p95_ms", 2, False),
    "cpu": ("closed-32", "cpu_s_per_1000", 3, False),
    "memory": ("", "peak_rss_bytes", 4, False),
    "start": ("", "first_answer_s", 5, False),
    "size": ("", "size_bytes", None, False),
    "cost": ("closed-32", "cost_per_million", 3, False),
}
SIZES = {"savedmodel": 11_102_331, "torchscript": 11_096_112, "onnx": 11_084_050, "tflite": 11_083_444}
IN_PROCESS_MS = {"savedmodel": 0.318, "torchscript": 0.141, "onnx": 0.118, "tflite": 0.131}
PRICE = 0.04


def around(value: float, share: float = 0.04) -> Estimate:
    """An estimate whose interval lies `share` around it."""
    return Estimate(value, value * (1 - share), value * (1 + share), share / 2, 12.0)


def point_of(name: str, scenario: str) -> Point:
    """The figures of an endpoint under a scenario, all drawn from its line in FIGURES."""
    rate, alone_ms, loaded_ms, cpu_s, *_ = FIGURES[name]
    kind, users, answers, p50_ms = {
        "single_stream": ("closed", 1, 900 / alone_ms, alone_ms),
        "closed-8": ("closed", 8, 0.8 * rate, 8000 / rate),
        "closed-32": ("closed", 32, float(rate), 32000 / rate),
        "open": ("open", 1, 300.0, 0.7 * loaded_ms),
    }[scenario]
    p95_ms = loaded_ms if kind == "open" else 1.9 * p50_ms
    few = name.startswith("torchserve") and scenario == "single_stream"
    invalid = name == INVALID and scenario == "closed-32"
    starts = tuple(Start(number, 20, 4000, answers * (0.98 + 0.02 * number), p50_ms, p95_ms) for number in (1, 2))
    return Point(
        scenario, kind, users, 1, starts, 40, 0.25, 8123, 0, 0, "INVALID" if invalid else "VALID",
        reasons=(INVALID_REASON,) if invalid else (),
        rate_rps=300.0 if kind == "open" else None,
        throughput_rps=around(answers), goodput_rps=around(0.9 * answers), samples_per_s=answers,
        p50_ms=around(p50_ms), p90_ms=around(1.6 * p50_ms), p95_ms=around(p95_ms, 0.12),
        p99_ms=None if few else around(1.5 * p95_ms, 0.2), max_ms=4 * p95_ms, needs={"p99": 662} if few else {},
        quantiles_ms=tuple(p50_ms * (0.8 + 0.4 * (i / 100) ** 2 + max(0, i - 90) / 7) for i in range(101)),
        from_send_ms={"p50": 0.6 * loaded_ms, "p95": 0.8 * loaded_ms, "p99": 1.1 * loaded_ms} if kind == "open" else {},
        schedule_lag_p99_ms=0.11 if kind == "open" else None,
        cpu_s_per_1000=around(cpu_s, 0.02), context_switches_per_1000=1517.0, client_cpu_share=0.41,
        split=Split(users, 400, p50_ms, 0.3 * p50_ms, 0.2 * p50_ms, 0.5 * p50_ms, 11.2) if users == 32 else None,
    )  # fmt: skip


def endpoint_of(name: str) -> EndpointReport:
    """One endpoint with its points."""
    server, artifact, protocol = name.split("/")
    framework, _, format_ = artifact.partition("-")
    memory_mb, start_s = FIGURES[name][4:]
    return EndpointReport(
        name, server, "pip" if server == "torchserve" else "embedded", artifact, protocol, framework, format_,
        settings={"threads": 1, "workers": 1, "max_batch_size": 32, "max_queue_delay_us": 0},
        points=tuple(point_of(name, scenario) for scenario in ("single_stream", "closed-8", "closed-32", "open")),
        cold_start=ColdStart(0.7 * start_s, 0.9 * start_s, around(start_s, 0.03)),
        peak_rss_bytes=memory_mb * 10**6, steady_rss_bytes=int(memory_mb * 9e5), threads=6,
        request_bytes=3283 if protocol != "rest" else 7210, request_wire_bytes=3410, response_bytes=201,
        size_bytes=SIZES[format_], samples_sha256="5e" * 32,
        stands_in_for="tensorflow_model_server" if server == "tfserving" else "",
    )  # fmt: skip


def ranking_of(question: str, endpoints: tuple[EndpointReport, ...]) -> Ranking:
    """A ranking in which a tier reaches as far as the interval of its best."""
    scenario, key, column, higher = QUESTIONS[question]
    figures = {
        e.name: _figure(e, question, column) for e in endpoints if not (e.name == INVALID and scenario == "closed-32")
    }
    order = sorted(figures, key=lambda name: figures[name].value, reverse=higher)
    rows, tier, head = [], 0, None
    for name in order:
        figure = figures[name]
        if head is None or _apart(figure, head):
            tier, head = tier + 1, figure
        best = figures[order[0]].value
        rows.append(Ranked(name, tier, figure, None if name == order[0] else around(figure.value / best, 0.07)))
    left_out = tuple(Unranked(e.name, INVALID_REASON) for e in endpoints if e.name not in figures)
    return Ranking(question, scenario, key, higher, question not in ("memory", "size"), tuple(rows), left_out)


def _apart(figure: Estimate, head: Estimate) -> bool:
    """Whether two intervals don't meet; without intervals, whether the figures differ."""
    if figure.low is None:
        return figure.value != head.value
    return figure.high < head.low or figure.low > head.high


def _figure(endpoint: EndpointReport, question: str, column: int | None) -> Estimate:
    if column is None:
        return Estimate(float(endpoint.size_bytes or 0))
    value = FIGURES[endpoint.name][column] * (1e6 if question == "memory" else 1)
    value = value * 1000 / 3600 * PRICE if question == "cost" else value
    return Estimate(value) if question == "memory" else around(value)


def question_of(about: str, a: str, b: str, a_value: str, b_value: str, question: str = "throughput") -> Question:
    """The named comparison of two endpoints."""
    column = QUESTIONS[question][2]
    ratio = around(FIGURES[a][column] / FIGURES[b][column], 0.07)
    better = "a_better" if (ratio.low > 1) == QUESTIONS[question][3] else "b_better"
    outcome = "no_difference" if ratio.low <= 1 <= ratio.high else better
    return Question(about, question, a, b, a_value, b_value, ratio, outcome)


def questions() -> tuple[Question, ...]:
    """gRPC against JSON everywhere, both frameworks on onnxruntime."""
    artifacts = ["tflite/tensorflow-tflite", "onnxruntime/pytorch-onnx", "tfserving/tensorflow-savedmodel"]
    asked = [question_of("protocol", f"{a}/grpc", f"{a}/rest", "grpc", "rest") for a in artifacts]
    pair = "onnxruntime/pytorch-onnx/{p}", "onnxruntime/tensorflow-onnx/{p}"
    asked += [
        question_of("framework", *(name.format(p=p) for name in pair), "pytorch", "tensorflow")
        for p in ("rest", "rest-binary", "grpc")
    ]
    return tuple(asked)


def build_report() -> Report:
    """The whole report."""
    endpoints = tuple(map(endpoint_of, FIGURES))
    open_load = OpenLoad(300.0, "share", 0.5, INVALID, 600.0)
    machine = Machine("An invented processor <for tests> & nothing else", 2, 25_769_803_776, "6.1.0", "3.11.7")
    versions = {"tensorflow": "2.20.0", "torch": "2.9.0", "onnxruntime": "1.23.0"}
    return Report(
        "fixture", "2026-11-23T05:00:00+00:00", "make compare", True,
        Design("quick", 1, 2, 40, 0.25, (("onnxruntime", "tflite"), ("tfserving", "torchserve")), 5.0, open_load,
               ("single_stream", "closed-8", "closed-32", "open"), 32, 312.0),
        Environment(machine, Pinning((0,), (1,)), versions, "0123456789abcdef", False),
        Family(0.05, 51, "All tiers and named comparisons of this report hold together with 95 % confidence."),
        Steadiness(True, 0.06, 1.3, 2),
        endpoints,
        rankings=tuple(ranking_of(question, endpoints) for question in QUESTIONS),
        questions=questions(),
        overheads=tuple(_overhead(endpoint) for endpoint in endpoints),
        clients=tuple(Client(p, 33_000.0, 0.061, 0.128, 0.21, 3283) for p in ("rest", "rest-binary", "grpc")),
        in_process=tuple(InProcess(a.name, 1, IN_PROCESS_MS[a.format], None, None, 1e3 / IN_PROCESS_MS[a.format], 200)
                         for a in artifacts()),
        artifacts=artifacts(), not_exported=(NotExported("pytorch-litert", "install the extra litert"),),
        training=tuple(Training(f, 2, 21.4, 2_770_634, 0.9853, (Epoch(1, 0.13, 0.96, 0.98, 11.2),), {f: "1.0"})
                       for f in ("tensorflow", "pytorch")),
        slo=rates(), conformance=conformance(), price_per_vcpu_hour=PRICE,
    )  # fmt: skip


def artifacts() -> tuple[Artifact, ...]:
    """What the manifests say."""
    names = dict.fromkeys(name.split("/")[1] for name in FIGURES)
    return tuple(
        Artifact(n, n.partition("-")[0], n.partition("-")[2], SIZES[n.partition("-")[2]], {"model": "0d" * 32},
                 0.9853, 1.2e-6, 1.0, 10_000, (1, 2, 64)) for n in names
    )  # fmt: skip


def rates() -> Rates:
    """The search for the highest rate, by default settings and tuned ones; torchserve meets the target at none."""
    entries = []
    for name, (rate, *_) in FIGURES.items():
        met = not name.startswith("torchserve")
        reason = "" if met else "p99 is over 5 ms at the lowest rate"
        for settings, factor in (("default", 0.6), ("tuned", 0.7)):
            figure = factor * rate if met else None
            setting = "defaults" if settings == "default" else "max_batch_size=64"
            p99_ms, replicas = (4.5, 1) if met else (None, None)
            measured = (figure, figure, p99_ms, 0.65, 10**8, met, False, reason, replicas, 0.002)
            entries.append(Rate(name, settings, setting, *measured))
    return Rates(5.0, "p99 from the intended send", "make slo", tuple(entries), 1000.0, 0.2, PRICE)


def conformance() -> tuple[Conformance, ...]:
    """Two endpoints of one API, one of which fails a case."""
    cases = (Case("the id of the request comes back", "MUST", "inference_rest.md", "pass"),
             Case("an unknown model is refused", "SHOULD", "inference_rest.md", "fail", "status 500"))  # fmt: skip
    names = ("onnxruntime/pytorch-onnx/rest", "tflite/tensorflow-tflite/rest")
    return tuple(Conformance(n, "oip-rest", cases, "embedded") for n in names)


def _overhead(endpoint: EndpointReport) -> Overhead:
    alone_ms, in_process_ms = FIGURES[endpoint.name][1], IN_PROCESS_MS[endpoint.format]
    return Overhead(endpoint.name, around(alone_ms / in_process_ms, 0.06), alone_ms, in_process_ms)


if __name__ == "__main__":
    from loadtest.report.command import write_report

    write_report(build_report(), Path(sys.argv[1]))
