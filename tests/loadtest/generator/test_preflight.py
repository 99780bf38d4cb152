"""A scenario whose requests can't be sent is left out alone. In a process of its own, as the module imports Locust."""

from __future__ import annotations

import json
import subprocess
import sys

from contract import ROOT

CODE = """
import json
import locust
from pathlib import Path
from contract import StageError
from loadtest.generator import preflight
from loadtest.plan import EndpointPlan, Run
from loadtest.scenarios import Closed, Offline
from serving.server import Endpoint

def build(_plan, _repository, batch):
    if batch == 64:
        raise preflight.PreflightError("no answer to sample 0: ValueError: status 413")
    return object()

preflight.checked_target = build
preflight.ParkedUsers = lambda target, users: users
runs = tuple(Run(scenario, 1, 1, "x") for scenario in (Closed(1, 0.1), Offline(64, 0.1), Closed(32, 0.1)))
ready = preflight.ReadyEndpoint(EndpointPlan(Endpoint("s", "a", "rest", 1), runs), Path())
left = [(run.scenario.name, reason) for run, reason in ready.left_out()]
print(json.dumps([ready.is_ready, [run.scenario.name for run in ready.runs], left, ready.users]))
"""


def test_a_scenario_that_is_refused_takes_no_other_with_it() -> None:
    done = subprocess.run((sys.executable, "-c", CODE), cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    is_ready, runs, left_out, users = json.loads(done.stdout)
    assert is_ready
    assert runs == ["single_stream", "closed-32"]
    assert left_out == [["offline", "no answer to sample 0: ValueError: status 413"]]
    assert users == 32
