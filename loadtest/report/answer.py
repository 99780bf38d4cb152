"""The answer in at most 60 words: what the rankings, the named comparisons and the counts hold, in plain English.

Every sentence repeats a tier or a comparison of the report; what none of them holds is not said.
"""

from __future__ import annotations

from dataclasses import dataclass

from loadtest.analysis.schema import Question, Ranking, Report, all_points
from loadtest.report.format import figure, plural, significant
from loadtest.report.names import Names, listed, others, protocol_word
from loadtest.report.rankings import tells_apart

WORDS = 60


@dataclass(frozen=True)
class Sentence:
    """A sentence of the answer; where not all of them fit, those of low priority are left out."""

    text: str
    priority: int
    """0 is kept first."""


def answer_of(report: Report) -> list[str]:
    """The sentences of the answer, the verdict first, at most WORDS words together."""
    names = Names(report.endpoints)
    sentences = [sentence for sentence in _sentences(report, names) if sentence.text]
    kept: list[Sentence] = []
    for sentence in sorted(sentences, key=lambda sentence: sentence.priority):
        if sum(len(other.text.split()) for other in (*kept, sentence)) <= WORDS:
            kept.append(sentence)
    return [sentence.text for sentence in sentences if sentence in kept]


def _sentences(report: Report, names: Names) -> list[Sentence]:
    throughput, alone = report.ranking("throughput"), report.ranking("latency_alone")
    return [
        Sentence(_problems(report), 0),
        Sentence(_most(report, throughput, names), 1),
        Sentence(_no_ranking(report, throughput), 1),
        Sentence(_fastest_alone(throughput, alone, names), 2),
        Sentence(_slowest(throughput, names), 4),
        Sentence(_protocols(report), 5),
        Sentence(_frameworks(report), 6),
        Sentence(_all_right(report), 3),
    ]


def counts(report: Report) -> tuple[int, int, int]:
    """Requests, failures and wrong answers of the whole comparison."""
    points = [point for _, point in all_points(report.endpoints)]
    return (
        sum(point.requests for point in points),
        sum(point.failures for point in points),
        sum(point.wrong_answers for point in points),
    )


def _problems(report: Report) -> str:
    requests, failures, wrong = counts(report)
    if not failures and not wrong:
        return ""
    parts = [f"{failures:,} failed" if failures else "", f"{wrong:,} had a wrong answer" if wrong else ""]
    return f"Beware: of {plural(requests, 'request')} {listed([part for part in parts if part])}."


def _all_right(report: Report) -> str:
    requests, failures, wrong = counts(report)
    return "" if failures or wrong or not requests else f"All {requests:,} answers were right."


def _most(report: Report, ranking: Ranking | None, names: Names) -> str:
    """Who shares the first tier of throughput."""
    if ranking is None or not ranking.ranked:
        return "No endpoint can be ranked by throughput: the figures below stand without an order."
    first, *more = ranking.tiers()
    users = plural(report.design.users, "user")
    rates = figure("throughput_rps", first[0].figure.value).removesuffix("/s")
    if not tells_apart(ranking):
        leader = names.spoken(first[0].endpoint)
        return f"{leader} had the highest figure: {rates} requests per second from {users}."
    if not more and len(first) == 1:
        return f"{names.spoken(first[0].endpoint)} answers {rates} requests per second from {users}."
    if not more:
        among = f"between {_number(len(first))} endpoints"
        return f"No difference in throughput is seen {among}: about {rates} answers/s with {users}."
    if len(first) == 1:
        return f"{names.spoken(first[0].endpoint)} answers most: {rates} requests per second from {users}."
    leaders = names.described([row.endpoint for row in first])
    return f"{leaders} answer most: up to {rates} requests per second from {users}."


def _no_ranking(report: Report, ranking: Ranking | None) -> str:
    """That the order of figures without intervals is none."""
    if ranking is None or not ranking.ranked or tells_apart(ranking):
        return ""
    why = f"{plural(report.design.starts, 'start')} of each server can't tell a difference from chance"
    return f"This is no ranking: {why}. PROFILE=quick or full can."


def _slowest(ranking: Ranking | None, names: Names) -> str:
    """How far behind the last tier is."""
    if ranking is None or not tells_apart(ranking) or ranking.ranked[-1].tier == 1:
        return ""
    last = ranking.ranked[-1]
    ratio = last.times_best
    if ratio is None or ratio.low is None or ratio.high is None:
        return ""
    low, high = 1 / ratio.high, 1 / ratio.low
    return f"{names.spoken(last.endpoint)} is slowest, with {_between(low, high)} times fewer answers."


def _fastest_alone(throughput: Ranking | None, alone: Ranking | None, names: Names) -> str:
    if alone is None or not tells_apart(alone):
        return ""
    first, *more = alone.tiers()
    if not more:
        return ""
    best = first[0]
    time = figure(alone.figure, best.figure.value)
    tied = f"; {_level(len(first) - 1)}" if len(first) > 1 else ""
    leads = throughput is not None and bool(throughput.ranked) and throughput.ranked[0].endpoint == best.endpoint
    if leads:
        return f"{names.spoken(best.endpoint)} is also fastest for a single user: {time} at the median{tied}."
    return f"A single user waits least for {names.spoken(best.endpoint)}: {time} at the median{tied}."


def _protocols(report: Report) -> str:
    """The two protocols that differ most, where all pairs of them that differ say the same."""
    compared: dict[frozenset[str], list[Question]] = {}
    for question in (q for q in report.questions if q.about == "protocol" and q.question == "throughput"):
        compared.setdefault(frozenset((question.a_value, question.b_value)), []).append(question)
    agreed = [pairs for pairs in compared.values() if len({winning_value(q) for q in pairs} - {""}) == 1]
    if not agreed:
        return ""
    pairs = max(agreed, key=lambda pairs: _range(pairs)[1])
    decided = [question for question in pairs if winning_value(question)]
    winner = winning_value(decided[0])
    (loser,) = {decided[0].a_value, decided[0].b_value} - {winner}
    where = "" if len(decided) == len(pairs) else f" in {len(decided)} of {len(pairs)} pairs"
    times = _between(*_range(decided))
    return f"{protocol_word(winner)} answers {times} times as many requests as {protocol_word(loser)}{where}."


def _frameworks(report: Report) -> str:
    """Whether it matters who trained the network, where the same network came from two frameworks."""
    pairs = [q for q in report.questions if q.about == "framework" and q.question == "throughput"]
    if pairs and all(q.outcome == "no_difference" for q in pairs):
        return "Which framework trained the network makes no difference that was seen."
    return ""


def winning_value(question: Question) -> str:
    """The value that is better (`grpc`), "" where no difference is seen."""
    return {"a_better": question.a_value, "b_better": question.b_value, "no_difference": ""}[question.outcome]


def _range(questions: list[Question]) -> tuple[float, float]:
    """From the least to the most that a winner is better by."""
    ratios = [max(q.ratio.value, 1 / q.ratio.value) for q in questions]
    return min(ratios), max(ratios)


def _between(low: float, high: float) -> str:
    texts = [significant(value, 2) for value in (low, high)]
    return texts[0] if texts[0] == texts[1] else f"{texts[0]} to {texts[1]}"


def _level(count: int) -> str:
    return f"{others(count)} {'is' if count == 1 else 'are'} level"


def _number(count: int) -> str:
    return "both" if count == 2 else f"all {count}"


def notes_of(report: Report) -> list[str]:
    """What a reader must know beside the answer: an interrupted run, an unsteady machine, stand-ins."""
    notes = [] if report.complete else ["This comparison was interrupted: the page holds what was measured until then."]
    notes += report.steadiness.notes
    stand_ins = {e.server: e.stands_in_for for e in report.endpoints if e.stands_in_for}
    notes += [
        f"{server} is this project's embedded stand-in for {genuine}: its figures are not those of {genuine}."
        for server, genuine in stand_ins.items()
    ]
    return notes
