"""The sentences of the report: how each chart is read, and the method in a fold at the end."""

from __future__ import annotations

THROUGHPUT = (
    "Each line is an endpoint, its points the closed loop from one user to the most; down and to the right is better. "
    " Whiskers are 95 % intervals, pale lines the other servers. The vertical axis is the {percentile}; both "
    "axes are logarithmic."
)
QUANTILES = (
    "Read at 99 %: 99 of 100 requests were at least as fast. The axis gives the slowest tenth as much room as all the "
    "others. A line ends where the requests were too few to say more."
)
GAP = (
    "The {percentile} under open load: hollow marks count from the moment the request was really sent, filled ones "
    "from the moment it was due. The distance is the coordinated-omission gap: waiting that a client which sends late "
    "does not see. Users wait by the filled clock."
)
SLO = (
    "Highest arrival rate on a fixed schedule at which the 99th percentile from the intended send stayed under the "
    "target. Hollow: default settings."
)
MEMORY = "Peak resident memory of the server's processes; hollow: steady, after the load."
START = "From the start of the process to live and ready (hollow) and to the first right answer (filled)."
CPU = "Under the most users of the closed loop."
GLANCE = (
    "The second line of a figure is its 95 % confidence interval. The order is that of the figures; the verdicts say "
    "which differences hold."
)
CEILING = "A point above 70 % of its client's ceiling says nothing about the server, and is marked client-limited."

METHOD = (
    (
        "Endpoint",
        "A server, an artifact and a protocol: one thing that can be measured. The engine says how the server was "
        "provided: binary, docker, pip, or embedded, which means that it is a server of this project; an embedded "
        "tfserving stands in for the genuine one.",
    ),
    (
        "Equal work",
        "Every endpoint gets the same tensors from the same samples file; its sha256 is in the settings. Layout change "
        "and softmax are inside the graph, so no server does more than another. Every answer is compared with the "
        "expected one while the load runs; a failure or a wrong answer never becomes a latency.",
    ),
    (
        "Rounds",
        "Each round measures every endpoint once, in random order; the seed is recorded. Server and load generator run "
        "on different cores where there are two or more.",
    ),
    (
        "Closed and open",
        "In single_stream and closed-N, one or N users each wait for their answer before they ask again. In open, "
        "requests are due on a schedule whatever the server does, and latency counts from the moment a request was "
        "due. A closed loop can't see the queue that its own waiting prevents.",
    ),
    (
        "Percentiles",
        "Taken from raw latencies, never from rounded ones. One is printed only where enough requests support it by "
        "the early-stopping count of MLPerf LoadGen; otherwise it reads n/a (needs N).",
    ),
    (
        "Intervals and verdicts",
        "Intervals of figures are at 95 %, blocked by round. Two endpoints are called different where the interval "
        "of their ratio excludes 1; these hold together at 99 %, corrected for the number of comparisons. "
        "Otherwise no difference was seen, which is not to "
        "say that there is none.",
    ),
    (
        "INVALID and client-limited",
        "A point that was unstable, had errors or too few requests is INVALID. One whose client worked close to its "
        "own ceiling is client-limited. Both are shown, marked, and never ranked.",
    ),
    (
        "Limits",
        "One small network on one machine. Figures hold for this machine and these versions; compare rows of one "
        "report, not figures of two.",
    ),
)
