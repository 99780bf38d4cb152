"""The load patterns, as frozen dataclasses, and the profiles made from them. Pure; imports nothing heavy.

The names are MLPerf LoadGen's where the pattern is: `single_stream`, `offline`; its Server scenario is `open` with
Poisson arrivals.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from contract import StageError

IN_FLIGHT_CAP = 512
"""Requests an open loop may have in flight; reaching it voids the run, for from there on the client would hold requests
back.
"""

FOREVER_S = 1e9
"""A run that lasts until it is stopped."""
PIECE_S = 10.0


@dataclass(frozen=True)
class Closed:
    """Users that each send the next request when the last one is answered, without a pause."""

    users: int
    seconds: float

    @property
    def name(self) -> str:
        """`single_stream` for one user, else `closed-<users>`."""
        return "single_stream" if self.users == 1 else f"closed-{self.users}"


@dataclass(frozen=True)
class Open:
    """Requests sent on a schedule fixed beforehand, whether or not earlier ones are answered."""

    rate_rps: float
    seconds: float
    arrivals: Literal["poisson", "constant"] = "poisson"
    in_flight_cap: int = IN_FLIGHT_CAP
    users: int = 1
    """Schedulers among which the rate is shared, each with a seed of its own."""

    @property
    def name(self) -> str:
        """`open`."""
        return "open"


@dataclass(frozen=True)
class Burst:
    """An open loop that is on for `on_s` seconds at `rate_rps` and silent for `off_s`, again and again."""

    rate_rps: float
    seconds: float
    on_s: float = 0.2
    off_s: float = 0.8
    in_flight_cap: int = IN_FLIGHT_CAP
    users: int = 1

    @property
    def name(self) -> str:
        """`burst`."""
        return "burst"


@dataclass(frozen=True)
class Offline:
    """One user that sends batches of `batch` samples back to back: what counts is samples per second."""

    batch: int
    seconds: float
    users: int = 1

    @property
    def name(self) -> str:
        """`offline`."""
        return "offline"


Scenario = Closed | Open | Burst | Offline
KINDS: dict[str, type[Scenario]] = {"closed": Closed, "open": Open, "burst": Burst, "offline": Offline}


@dataclass(frozen=True)
class Profile:
    """How much a comparison measures."""

    name: str
    starts: int
    """Starts of every server, at least: with few endpoints there are more."""
    seconds: float
    """That the comparison may take; what is left after the starts is filled with blocks."""
    most_blocks: int
    """Of an endpoint under a scenario in one start."""
    warm_up_s: float
    """Of one piece of the warm-up, which is repeated until it goes no faster."""
    scenarios: tuple[Scenario, ...]
    """Their seconds are those of a block of a fast model; slow ones get longer blocks, and rates are found out."""


UNKNOWN_RPS = 0.0
"""The rate of an open scenario until it is known what the endpoints bear."""
ALONE, SOME, BUSY = Closed(1, 0.25), Closed(8, 0.2), Closed(32, 0.25)
SCHEDULED = Open(UNKNOWN_RPS, 0.4)

PROFILES = {
    "smoke": Profile("smoke", 1, 60.0, 2, 0.2, (ALONE, SOME, BUSY, SCHEDULED)),
    "quick": Profile("quick", 2, 340.0, 40, 0.2, (ALONE, SOME, BUSY, SCHEDULED)),
    "full": Profile(
        "full", 4, 1440.0, 60, 0.4, (ALONE, SOME, BUSY, SCHEDULED, Burst(UNKNOWN_RPS, 1.0), Offline(64, 0.25))
    ),
}


def find_profile(name: str) -> Profile:
    """The profile called `name`."""
    if name not in PROFILES:
        raise StageError(f"no profile {name!r}: choose from {', '.join(PROFILES)}")
    return PROFILES[name]


def schedule_s(scenario: Open | Burst, seed: int, share: int = 0, shares: int = 1) -> Iterator[float]:
    """The intended sends of one of `shares` schedulers, in seconds from the start; one without an end is drawn piece by
    piece.
    """
    if scenario.seconds < FOREVER_S:
        yield from arrivals_s(scenario, seed, share, shares).tolist()
        return
    piece = replace(scenario, seconds=PIECE_S)
    for number in itertools.count():
        yield from (arrivals_s(piece, seed + number, share, shares) + number * PIECE_S).tolist()


def arrivals_s(scenario: Open | Burst, seed: int, share: int = 0, shares: int = 1) -> np.ndarray:
    """The intended sends of one of `shares` schedulers, in seconds from the start, ascending; float64.

    Poisson streams with independent seeds add up to one of the whole rate; constant streams are shifted against each
    other so that the sum keeps its constant gap.
    """
    rate_rps = scenario.rate_rps / shares
    if isinstance(scenario, Burst):
        on = arrivals_s(Open(scenario.rate_rps, _on_seconds(scenario)), seed, share, shares)
        return on + np.floor(on / scenario.on_s) * scenario.off_s
    if scenario.arrivals == "constant":
        return np.arange(share / scenario.rate_rps, scenario.seconds, 1 / rate_rps)
    random = np.random.default_rng((seed, share))
    expected = rate_rps * scenario.seconds
    times = np.cumsum(random.exponential(1 / rate_rps, int(expected + 8 * np.sqrt(expected) + 16)))
    return times[times < scenario.seconds]


def _on_seconds(burst: Burst) -> float:
    whole, rest = divmod(burst.seconds, burst.on_s + burst.off_s)
    return float(whole * burst.on_s + min(rest, burst.on_s))


def to_fields(scenario: Scenario) -> dict[str, Any]:
    """A scenario as JSON has it; `from_fields` reads it back."""
    kind = next(name for name, kind_class in KINDS.items() if kind_class is type(scenario))
    return {"kind": kind, **asdict(scenario)}


def from_fields(fields: dict[str, Any]) -> Scenario:
    """The scenario that `to_fields` wrote."""
    rest = {key: value for key, value in fields.items() if key != "kind"}
    return KINDS[fields["kind"]](**rest)


def at_rate(scenario: Scenario, rate_rps: float) -> Scenario:
    """The scenario with this rate where it has one; a burst has twice the rate while it is on."""
    if isinstance(scenario, Open):
        return replace(scenario, rate_rps=rate_rps)
    if isinstance(scenario, Burst):
        return replace(scenario, rate_rps=2 * rate_rps)
    return scenario
