"""Clients in threads: what they send, and how they count."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from loadtest.bench.client_threads import ClientThreads
from loadtest.client.requests import Answer
from loadtest.client.target import Check, Target, assemble
from loadtest.runs.calibration import null_server
from serving.server import Call, Endpoint

ANSWER = b'{"outputs": "0123456789"}'


class FirstSample(Check):
    """Keeps the number of the first sample of each client, by its thread."""

    def __init__(self, index: int, first: dict[int, int]) -> None:
        super().__init__(lambda *_: {}, lambda _: "", 200)
        self.index, self.first = index, first

    def __call__(self, answer: Answer, headers: tuple[tuple[str, str], ...]) -> str:
        self.first.setdefault(threading.get_ident(), self.index)
        return super().__call__(answer, headers)


def target_at(port: int, checks: list[Check]) -> Target:
    return assemble(Endpoint("null", "a", "rest", port), [Call("/", b"body")] * len(checks), checks, "")


@pytest.mark.parametrize(
    ("fault_of", "counted"),
    [(lambda _: "", "right"), (lambda _: "off by 1", "wrong")],
)
def test_answers_are_counted_by_what_the_check_says(
    tmp_path: Path, eventually: Callable[..., object], fault_of: Callable[[dict[str, object]], str], counted: str
) -> None:
    with null_server(tmp_path, "rest", ANSWER, None) as (_, port):
        clients = ClientThreads(target_at(port, [Check(lambda *_: {}, fault_of, 200)] * 4), 2)
        with clients:
            eventually(lambda: clients.total()[counted] > 5, 20)
    total = clients.total()
    assert sum(total[key] for key in ("right", "wrong", "refused", "failed")) == total[counted]
    assert clients.explanations == ["off by 1"] * 5 if counted == "wrong" else not clients.explanations


def test_clients_begin_with_different_samples(tmp_path: Path, eventually: Callable[..., object]) -> None:
    """All with the same sample at the same time, and an answer meant for another would look right."""
    first: dict[int, int] = {}
    checks: list[Check] = [FirstSample(index, first) for index in range(8)]
    with null_server(tmp_path, "rest", ANSWER, None) as (_, port), ClientThreads(target_at(port, checks), 4):
        eventually(lambda: len(first) == 4, 20)
    assert len(set(first.values())) == 4


def test_a_lost_answer_is_a_failure(tmp_path: Path, eventually: Callable[..., object]) -> None:
    with null_server(tmp_path, "rest", ANSWER, None, ("--fault", "close")) as (_, port):
        clients = ClientThreads(target_at(port, [Check(lambda *_: {}, lambda _: "", 200)]), 1)
        with clients:
            eventually(lambda: clients.total()["failed"] > 0, 20)
    assert clients.total()["right"] == 0
