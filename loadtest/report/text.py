"""The fixed words of the report: what each figure is called, how each chart is read, and the method."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """What a ranking's figure is called: over its column, in a caption, and as a wish in `What to choose`."""

    column: str
    caption: str
    wish: str


MEASURES = {
    "throughput_rps": Measure("Answers/s", "Answers per second with {users}", "Most answers per second"),
    "p50_ms": Measure("Median", "Median latency of a single user", "Shortest latency alone"),
    "p95_ms": Measure("p95", "95th percentile of the latency under an open load of {rate}", "Shortest p95 under load"),
    "peak_rss_bytes": Measure("Peak memory", "Peak memory of the server's processes", "Least memory"),
    "cpu_s_per_1000": Measure("CPU s", "Processor time for 1,000 answers with {users}", "Least processor time"),
    "first_answer_s": Measure(
        "First answer", "From the start of the process to the first right answer", "Fastest start"
    ),
    "size_bytes": Measure("Size", "Size of the artifact's files", "Smallest to ship"),
    "cost_per_million": Measure(
        "Cost", "Cost of a million answers at {price} per vCPU-hour", "Cheapest million answers"
    ),
}
"""By the name that a ranking gives its figure, in the order of `What to choose`."""

REASONS = (
    ("client-limited", "the load generator was the limit: the server may do more than was measured"),
    ("unstable", "its speed changed too much to state one figure"),
    ("too few", "too few requests to be sure"),
    ("overloaded", "it could not keep up with this load"),
    ("no time", "the profile leaves too little time for an endpoint this slow"),
    ("not asked", "its first request failed, so it was not measured"),
)
"""What the reasons of the analysis, by how they begin, mean for the reader."""


def plain_reason(reason: str) -> str:
    """What a reason for leaving a figure out means for the reader."""
    return next((meaning for start, meaning in REASONS if reason.startswith(start)), reason)


NO_DIFFERENCE = "Within a tier no difference was seen."
TIERS = f"{NO_DIFFERENCE} The bar is the 95 % interval."
JUST_AS_GOOD = (
    "Just as good: no difference from the best was seen, or the same three digits where a figure has no interval."
)
THROUGHPUT = (
    "Each line is an endpoint, its points the closed loop from one user to the most; down and to the right is better. "
    "Whiskers are 95 % intervals, pale lines the other servers. The vertical axis is the {percentile}; both "
    "axes are logarithmic."
)
QUANTILES = (
    "Read at 99 %: 99 of 100 requests were at least as fast. The axis gives the slowest tenth as much room as all the "
    "others. A line ends where the requests were too few to say more."
)
GAP = (
    "The {percentile} under open load: hollow marks count from the moment the request was sent, filled ones "
    "from the moment it was due. The distance between them is the coordinated-omission gap: waiting that a client "
    "which sends late does not see. The filled mark is what a user experiences."
)
SLO = (
    "Highest arrival rate on a fixed schedule at which the 99th percentile from the intended send stayed under the "
    "target. Hollow: default settings."
)
MEMORY = "Peak resident memory of the server's processes; hollow: steady, after the load."
START = "From the start of the process to live and ready (hollow) and to the first right answer (filled)."
OVERHEAD = (
    "How many times as long a single user waits for the served model as a call of the same artifact in the same "
    "process takes, both at the median. 1 would be no overhead."
)
CEILING = "A point above 70 % of its client's ceiling says nothing about the server, and is marked client-limited."
EQUAL_WORK = (
    "Every endpoint got the same tensors from the same samples file, and every answer was compared with the expected "
    "one while the load ran. A failure or a wrong answer never becomes a latency."
)
SPLIT = (
    "From a short piece after the run, in which every request asks the server for its split: the middle fifth of the "
    "requests by latency, so that the parts add up. Servers that tell none are left out."
)

METHOD = (
    (
        "Endpoint",
        "A server, an artifact and a protocol: one thing that can be measured. The engine says how the server was "
        "provided: binary, docker, pip, or embedded, which means that the server is part of this project.",
    ),
    (
        "Blocks",
        "Each endpoint is measured in many short blocks. Endpoints take turns block by block in random order, so that "
        "a change in the machine's speed meets all of them; the seed is recorded. Server and load generator run on "
        "different cores where there are two or more.",
    ),
    (
        "Closed and open load",
        "In single_stream and closed-N, one or N users each wait for their answer before they ask again. In open, "
        "requests are due on a schedule whatever the server does, and latency counts from the moment a request was "
        "due. A closed loop can't see the queue that its own waiting prevents.",
    ),
    (
        "Percentiles",
        "Taken from raw latencies, never from rounded ones. A percentile is printed only where enough requests support "
        "it by the early-stopping count of MLPerf LoadGen; otherwise it reads n/a (needs N).",
    ),
    (
        "Intervals and tiers",
        "Intervals of single figures are at 95 % and include what differs from one start of a server to the next. "
        "Endpoints share a tier where no difference from the tier's best was seen, which is not to say that there is "
        "none.",
    ),
    (
        "What is not ranked",
        "A figure that was unstable, had errors or too few requests is INVALID. One whose load generator worked close "
        "to its own ceiling is client-limited. Both are shown with the reason, and never ranked.",
    ),
    (
        "Limits",
        "Figures hold for this model, this machine and these versions. Compare rows of one report, not figures of two.",
    ),
)
