"""Finds the highest open-loop rate at which p99 from the intended send meets a target. Pure: a probe is a function.

A rate is tried in up to three pieces, whose requests are counted together as LoadGen's Server scenario counts them. It
passes once they state with 99 % confidence that the p99 is below the target, and fails once they state that it is not;
if neither is settled after the last, the share of requests over the target decides. A piece in which the generator
was late is made again, unless a request failed in it. A rate that fails although its median is in time is tried twice
more and passes only if both trials pass: a stall of a shared machine is not the server's limit.

First a bracket is found by doubling or halving from what a closed loop reaches, then it is bisected, and a second trial
must confirm the rate. Low rates have too few requests to state a p99 in the time a trial may take; that is said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from loadtest.analysis.intervals import certainly_over, quantile, requests_needed
from loadtest.analysis.validity import CEILING_SHARE, CLIENT_CPU_SHARE, LAG_MS, LAG_SHARE
from loadtest.plan import Search
from loadtest.scenarios import Closed, Open, Scenario

PERCENTILE = 0.99
REQUESTS = 1500
"""Requests of a piece: up to 6 of them may be over the target where one piece is to do."""
PIECES = 3
LONGEST_S, TARGETS = 20.0, 8
"""Of a piece, or so many targets where these are longer, so that a queue shows; one cut short by it is the only one of
its trial.
"""
VOID_PIECES = 3
"""So many pieces in which the client was the limit end a trial."""
FINENESS, COARSE_FINENESS = 1.06, 1.25
"""The bracket's two ends may differ by this factor at the end; coarsely where no p99 can be stated."""
STEP_DOWN = 0.93
LOWEST_RPS, HIGHEST_RPS = 0.1, 50_000.0
"""The rates that are searched."""
CONFIRMATIONS = 3
MISSED = "not met even at"
"""How the reason begins where even the lowest rate searched was too high."""


@dataclass(frozen=True)
class Piece:
    """What one probe found."""

    seconds: float
    requests: int
    over_target: int
    """Of the requests: answered late, wrongly or not at all."""
    failures: int
    wrong_answers: int
    throughput_rps: float
    goodput_rps: float
    latencies_ms: np.ndarray
    """Of right answers."""
    lag_p99_ms: float = 0.0
    client_cpu_share: float = 0.0
    server_cpu_s: float | None = None
    rss_bytes: int | None = None
    capped: bool = False
    explanations: tuple[str, ...] = ()

    def faults(self) -> list[str]:
        """What the server did wrong."""
        first = f": {self.explanations[0]}" if self.explanations else ""
        faults = [f"{self.failures} of {self.requests} requests failed{first}"] if self.failures else []
        faults += [f"{self.wrong_answers} of {self.requests} answers were wrong{first}"] if self.wrong_answers else []
        return [*faults, "overloaded: the cap of requests in flight was reached"] if self.capped else faults

    def is_client_limited(self, ceiling_rps: float | None) -> bool:
        """Whether the generator may be what was measured."""
        p99 = quantile(np.sort(self.latencies_ms), PERCENTILE) if len(self.latencies_ms) else 0.0
        late = self.lag_p99_ms > max(LAG_MS, LAG_SHARE * p99)
        near = ceiling_rps is not None and self.throughput_rps > CEILING_SHARE * ceiling_rps
        return late or near or self.client_cpu_share > CLIENT_CPU_SHARE


@dataclass(frozen=True)
class Trial:
    """One rate, tried."""

    rate_rps: float
    passed: bool
    may_be_a_stall: bool
    is_stated: bool
    """Whether the requests were enough to state it; else their share over the target decided."""
    client_limited: bool
    reasons: tuple[str, ...]
    pieces: int
    void_pieces: int
    requests: int
    over_target: int
    failures: int
    p50_ms: float | None
    p99_ms: float | None
    goodput_rps: float
    cpu_share: float | None
    rss_bytes: int | None


@dataclass(frozen=True)
class FoundRate:
    """What a search found; `rate_rps` is None where no rate meets the target."""

    rate_rps: float | None = None
    goodput_rps: float | None = None
    p99_ms: float | None = None
    cpu_share: float | None = None
    rss_bytes: int | None = None
    confirmed: bool = False
    client_limited: bool = False
    reason: str = ""
    trials: tuple[Trial, ...] = field(default=())

    def fields(self) -> dict[str, object]:
        """As JSON."""
        return asdict(self)


Probe = Callable[[Scenario], Piece]


class RateSearch:
    """One search, with all its trials."""

    def __init__(self, probe: Probe, search: Search, target_ms: float) -> None:
        """`probe` runs a scenario."""
        self.probe, self.search, self.target_ms = probe, search, target_ms
        self.trials: list[Trial] = []

    def run(self) -> FoundRate:
        """The highest rate, its figures, and whether a second trial confirmed it."""
        if self.search.above_rps:
            low = self.search.above_rps * FINENESS
            if not self.passes(low):
                return FoundRate(reason="no higher rate than with other settings", trials=tuple(self.trials))
            low, high = self.bracket(low, 1.3)
        else:
            closed = self.probe(Closed(8, 0.5))
            start = min(max(LOWEST_RPS, closed.throughput_rps / 2), HIGHEST_RPS)
            low, high = self.bracket(start, 1.6)
        while low and high / low > (FINENESS if is_fine(low) else COARSE_FINENESS):
            middle = (low * high) ** 0.5
            low, high = (middle, high) if self.passes(middle) else (low, middle)
        for _ in range(CONFIRMATIONS):
            if low < LOWEST_RPS:
                break
            if self.passes(low):
                return self.found(low, confirmed=True)
            low *= STEP_DOWN
        if any(trial.passed for trial in self.trials):
            return self.found(low, confirmed=False)
        return FoundRate(reason=self.why_none(), trials=tuple(self.trials))

    def bracket(self, rate_rps: float, factor: float) -> tuple[float, float]:
        """A rate that passes and a higher one that does not; (0, rate) where even the lowest fails."""
        if self.passes(rate_rps):
            while rate_rps < HIGHEST_RPS and self.passes(min(rate_rps * factor, HIGHEST_RPS)):
                rate_rps = min(rate_rps * factor, HIGHEST_RPS)
            return rate_rps, min(rate_rps * factor, HIGHEST_RPS)
        while rate_rps > LOWEST_RPS:
            higher, rate_rps = rate_rps, max(LOWEST_RPS, rate_rps / 2)
            if self.passes(rate_rps):
                return rate_rps, higher
        return 0.0, rate_rps

    def passes(self, rate_rps: float) -> bool:
        """Whether the rate meets the target, in one trial or, after what may be a stall, in two more."""

        def is_met() -> bool:
            self.trials.append(try_rate(self.probe, rate_rps, self.search.ceiling_rps, self.target_ms))
            return self.trials[-1].passed

        return is_met() or (self.trials[-1].may_be_a_stall and is_met() and is_met())

    def found(self, rate_rps: float, *, confirmed: bool) -> FoundRate:
        """The last trial that passed, and what ended the search above it."""
        best = [trial for trial in self.trials if trial.passed][-1]
        higher = [trial for trial in self.trials if trial.rate_rps > best.rate_rps and not trial.passed]
        limited = bool(higher) and all(trial.client_limited for trial in higher)  # never was it the server that missed
        reason = "the client's limit, not the server's" if limited else ""
        if best.rate_rps >= HIGHEST_RPS:
            limited, reason = True, "higher rates are not searched"
        if not best.is_stated:
            reason = f"{best.over_target} of {best.requests} requests over the target: too few to state a p99"
        if not confirmed:
            reason = f"no second run confirmed a rate down to {rate_rps:.3g} requests/s"
        keys = ("rate_rps", "goodput_rps", "p99_ms", "cpu_share", "rss_bytes")
        figures = {key: getattr(best, key) for key in keys}
        rest = {"confirmed": confirmed, "client_limited": limited, "reason": reason, "trials": tuple(self.trials)}
        return FoundRate(**figures, **rest)  # type: ignore[arg-type]

    def why_none(self) -> str:
        """The reason where no rate passed."""
        last = self.trials[-1]
        why = "; ".join(last.reasons) or f"{last.over_target} of {last.requests} over the target"
        return f"{MISSED} {last.rate_rps:.3g} requests/s: {why}"


def is_fine(rate_rps: float) -> bool:
    """Whether a piece of the rate has enough requests to state a p99."""
    return LONGEST_S * rate_rps >= requests_needed(PERCENTILE, 0)


def seconds_of(rate_rps: float, target_ms: float) -> float:
    """A piece's length: a second, and 1,500 requests; at low rates fewer, but as many as state a p99, or LONGEST_S."""
    wanted = min(REQUESTS, max(4 * rate_rps, 1.1 * requests_needed(PERCENTILE)))
    return min(max(1.0, wanted / rate_rps), max(LONGEST_S, TARGETS * target_ms / 1e3))


def try_rate(probe: Probe, rate_rps: float, ceiling_rps: float | None, target_ms: float) -> Trial:
    """Try a rate piece by piece until the requests state whether it meets the target."""
    pieces: list[Piece] = []
    void: list[Piece] = []
    stated, faults = None, list[str]()
    while stated is None and len(pieces) < (PIECES if is_fine(rate_rps) else 1) and len(void) < VOID_PIECES:
        piece = probe(Open(rate_rps, seconds_of(rate_rps, target_ms)))
        faults = piece.faults()
        (void if piece.is_client_limited(ceiling_rps) and not faults else pieces).append(piece)
        if pieces:
            stated = _stated(pieces, bool(faults))
    whole, client_limited = pieces or void, len(void) == VOID_PIECES
    seconds, requests, over = (
        sum(getattr(piece, key) for piece in whole) for key in ("seconds", "requests", "over_target")
    )
    latencies_ms = np.sort(np.concatenate([piece.latencies_ms for piece in whole]))
    p50, p99 = (quantile(latencies_ms, share) if len(latencies_ms) else None for share in (0.5, PERCENTILE))
    cpu = [piece.server_cpu_s for piece in whole if piece.server_cpu_s is not None]
    likely = over <= (1 - PERCENTILE) * requests and not client_limited and requests > 0
    return Trial(
        rate_rps=rate_rps,
        passed=likely if stated is None else stated,
        may_be_a_stall=stated is False and not faults and p50 is not None and p50 <= target_ms,
        is_stated=stated is not None,
        client_limited=client_limited,
        reasons=tuple(faults),
        pieces=len(pieces),
        void_pieces=len(void),
        requests=requests,
        over_target=over,
        failures=sum(piece.failures for piece in whole),
        p50_ms=p50,
        p99_ms=p99,
        goodput_rps=sum(piece.goodput_rps * piece.seconds for piece in whole) / seconds,
        cpu_share=sum(cpu) / seconds if len(cpu) == len(whole) else None,
        rss_bytes=whole[-1].rss_bytes,
    )


def _stated(pieces: Sequence[Piece], faulty: bool) -> bool | None:
    """Whether the pieces' requests together state that the target is met, or that it is missed; None: neither yet."""
    requests, over = (sum(getattr(piece, key) for piece in pieces) for key in ("requests", "over_target"))
    if faulty or certainly_over(requests, over, PERCENTILE):
        return False
    return True if requests >= requests_needed(PERCENTILE, over) else None
