"""What the report says of the machine itself: its drift, its noise, and servers that should have been idle."""

from __future__ import annotations

import numpy as np
import pytest

from loadtest.analysis.fits import Fitted, Measured
from loadtest.analysis.levels import from_starts
from loadtest.analysis.result import BlockUse, MeasuredEndpoint, Result
from loadtest.analysis.steadiness import MARKED_BLOCKS, UNSTEADY_NOISE, UNSTEADY_SWING, judge_machine

ENDPOINT = MeasuredEndpoint("s", "a", "rest", 1, "127.0.0.1", "embedded", "s/a/rest")


def fitted(swing: float, noise: float) -> Fitted:
    """A figure whose drift swings `swing`-fold and whose blocks scatter by `noise`."""
    drift = np.linspace(0, np.log(swing) / 0.9, 101)
    scatter = noise * np.random.default_rng(1).normal(0, 1, 2000)
    return Fitted(from_starts(["a", "b"], np.ones((2, 2))), (drift,), {"a": scatter, "b": scatter})


def measured(*idle_shares: float) -> dict[str, dict[str, Measured]]:
    blocks = tuple(BlockUse(float(i), 0.3, 100, 0.1, share) for i, share in enumerate(idle_shares))
    return {"s/a/rest": {"closed-32": Measured([Result(ENDPOINT, "closed-32", {}, 1, 1, blocks=blocks)])}}


@pytest.mark.parametrize(
    ("swing", "noise", "note"),
    [
        (UNSTEADY_SWING * 0.95, UNSTEADY_NOISE * 0.9, None),
        (2.0, 0.05, "its speed changed 2.0-fold under all endpoints alike"),
        (1.1, 0.3, "blocks of the same endpoint differ by ±30% for all endpoints alike"),
    ],
)
def test_an_unsteady_machine_is_named_once(swing: float, noise: float, note: str | None) -> None:
    steadiness = judge_machine({"closed-32": {"throughput_rps": fitted(swing, noise)}}, measured(0.0))
    assert steadiness.steady == (note is None)
    assert len(steadiness.notes) == (note is not None)
    assert all(note in text and text.endswith("and measure again.") for text in steadiness.notes if note)


def test_a_machine_that_swings_is_seen_in_closed_loops_alone() -> None:
    assert judge_machine({"open": {"throughput_rps": fitted(3.0, 0.5)}}, measured(0.0)).steady


def test_blocks_in_which_idle_servers_were_busy_are_marked() -> None:
    few = judge_machine({}, measured(0.0, 0.0, 0.009, 0.0, 0.02))
    assert (few.marked_blocks, few.notes) == (1, ())
    fits = {"closed-32": {"throughput_rps": fitted(1.0, 0.01)}}
    many = judge_machine(fits, measured(*[0.0] * 6, *[0.02] * 4))
    assert MARKED_BLOCKS * 10 < 4
    assert many.notes == ("In 4 of 10 blocks servers that should have been idle took more than 1% of a core.",)
    assert many.steady
