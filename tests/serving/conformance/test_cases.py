"""The cases themselves: every one is named once, binds as much as it says, and tells where it is written."""

from __future__ import annotations

import pytest

from contract import StageError
from serving.conformance.case import LEVELS, Violation
from serving.conformance.cases import tfserving_recorded as recorded
from serving.conformance.exchange import Reply
from serving.conformance.runner import APIS, FOLDER, cases_of, modules_of


@pytest.mark.parametrize("api", APIS)
def test_cases_have_names_levels_and_sources(api):
    cases = cases_of(api)
    names = [case.name for case in cases]
    assert len(names) == len(set(names))
    assert {case.level for case in cases} == set(LEVELS)
    assert all(case.api == api and len(case.source) > 10 and len(case.name) > 5 for case in cases)


def test_every_file_of_cases_belongs_to_an_api():
    found = {module.__name__.rsplit(".", 1)[1] for api in APIS for module in modules_of(api)}
    assert found == {path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__"}


def test_unknown_api_is_refused():
    with pytest.raises(StageError, match="choose from tfserving, torchserve, oip-rest, oip-grpc"):
        modules_of("soap")


def test_every_recorded_exchange_is_a_case():
    exchanges = sum(len(path.read_text().splitlines()) for path in recorded.RECORDED.glob("*.jsonl"))
    assert len(recorded.CASES) == exchanges > 0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"a": [1.0, 2]}, {"a": [1.0, 2]}, True),
        ([0.1], [0.1 + 1e-12], True),  # the same float32
        ([0.1], [0.1001], False),
        ([float("nan")], [float("nan")], True),
        ([True], [1], False),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ("1", 1, False),
    ],
)
def test_values_are_compared_as_float32(one, other, same):
    assert recorded.same_value(one, other) is same


@pytest.mark.parametrize(
    ("text", "stable"),
    [
        ("JSON Parse error: Invalid value. at offset: 12", "JSON Parse error:"),
        ("Failed to process element: 0. JSON Value: 1 Type", "Failed to process element: 0. JSON Value:"),
        ("Servable not found for request: Latest(x)", "Servable not found for request: Latest(x)"),
    ],
)
def test_error_texts_are_compared_up_to_a_parsers_own_words(text, stable):
    assert recorded.stable_part(text) == stable


def test_a_kernels_words_may_come_in_another_order():
    recorded_body = b'{"error": "Incompatible shapes: [2] vs. [3]\\n\\t [[{{node mul}}]]"}'
    recorded.compare_bodies(
        Reply(400, {}, recorded_body.replace(b"[2] vs. [3]", b"[3] vs. [2]")), recorded_body, exact=True
    )


def test_exact_comparison_tells_a_changed_text():
    with pytest.raises(Violation, match="recorded: 'text'"):
        recorded.compare_bodies(Reply(400, {}, b'{"error": "other"}'), b'{"error": "text"}', exact=True)
