"""The answer: at most 60 words, each of them held by a tier, a comparison or a count."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loadtest.report.answer import WORDS, answer_of, notes_of


def change_points(report, **changes):
    """The report with every point of its first endpoint changed."""
    first, *rest = report.endpoints
    points = tuple(replace(point, **changes) for point in first.points)
    return replace(report, endpoints=(replace(first, points=points), *rest))


def change_ranking(report, question, change):
    return replace(report, rankings=tuple(change(r) if r.question == question else r for r in report.rankings))


def one_tier(ranking):
    return replace(ranking, ranked=tuple(replace(row, tier=1) for row in ranking.ranked))


def test_answer_is_short_and_leads_with_throughput(report):
    answer = answer_of(report)
    assert (
        answer[0] == "tflite over binary REST and 4 others answer most: up to 9,310 requests per second from 32 users."
    )
    assert sum(len(sentence.split()) for sentence in answer) <= WORDS


def test_answer_names_the_slowest_with_its_interval(report):
    assert "torchserve over gRPC is slowest, with 8.6 to 9.9 times fewer answers." in answer_of(report)


def test_answer_says_that_every_answer_was_right(report):
    assert answer_of(report)[-1] == "All 454,888 answers were right."


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"failures": 3}, "Beware: of 454,888 requests 12 failed."),
        ({"wrong_answers": 1}, "Beware: of 454,888 requests 4 had a wrong answer."),
        ({"failures": 1, "wrong_answers": 2}, "Beware: of 454,888 requests 4 failed and 8 had a wrong answer."),
    ],
)
def test_answer_begins_with_what_went_wrong(report, changes, sentence):
    answer = answer_of(change_points(report, **changes))
    assert answer[0] == sentence
    assert not any("were right" in sentence for sentence in answer)


def test_no_difference_between_all_is_said(report):
    answer = answer_of(change_ranking(report, "throughput", one_tier))
    assert (
        answer[0]
        == "No difference in throughput is seen between all 13 endpoints: about 9,310 answers/s with 32 users."
    )
    assert not any("slowest" in sentence for sentence in answer)


def test_one_endpoint_is_not_compared_with_itself(report):
    alone = change_ranking(report, "throughput", lambda ranking: replace(ranking, ranked=ranking.ranked[:1]))
    assert answer_of(alone)[0] == "tflite over binary REST answers 9,310 requests per second from 32 users."


def test_a_single_start_ranks_nothing(report):
    uninferred = change_ranking(report, "throughput", lambda ranking: replace(ranking, inferred=False))
    answer = answer_of(uninferred)
    assert answer[0] == "tflite over binary REST had the highest figure: 9,310 requests per second from 32 users."
    assert answer[1].startswith("This is no ranking: 2 starts of each server can't tell a difference from chance.")
    assert not any("slowest" in sentence for sentence in answer)


def test_without_rankings_the_answer_says_so(few):
    assert answer_of(few)[0].startswith("No endpoint can be ranked by throughput")


def test_the_same_endpoint_is_not_introduced_twice(report):
    assert "tflite over binary REST is also fastest for a single user: 0.405 ms at the median; 4 others are level." in (
        answer_of(report)
    )


def test_frameworks_are_compared_only_where_one_network_came_from_two(report):
    said = "Which framework trained the network makes no difference that was seen."
    short = replace(report, rankings=report.rankings[:1])
    assert said in answer_of(short)
    others = tuple(question for question in report.questions if question.about != "framework")
    assert said not in answer_of(replace(short, questions=others))


def test_notes_warn_of_stand_ins_interruption_and_an_unsteady_machine(report):
    assert notes_of(report) == [
        "tfserving is this project's embedded stand-in for tensorflow_model_server: its figures are not those of "
        "tensorflow_model_server."
    ]
    unsteady = replace(report.steadiness, steady=False, notes=("The machine is too unsteady: close other programs.",))
    notes = notes_of(replace(report, complete=False, steadiness=unsteady))
    assert notes[0].startswith("This comparison was interrupted")
    assert notes[1] == "The machine is too unsteady: close other programs."


def test_protocols_are_compared_by_the_pair_that_differs_most(report):
    short = replace(report, rankings=())
    assert "gRPC answers 1.3 to 1.4 times as many requests as JSON." in answer_of(short)
    first, second, *others = report.questions
    tie = replace(second, outcome="no_difference")
    assert "gRPC answers 1.3 to 1.4 times as many requests as JSON in 2 of 3 pairs." in (
        answer_of(replace(short, questions=(first, tie, *others)))
    )
    contrary = replace(second, outcome="b_better")
    assert not any("JSON" in text for text in answer_of(replace(short, questions=(first, contrary, *others))))
