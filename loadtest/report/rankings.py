"""What every form of the report asks of a ranking: its caption, its first tier, whether it tells anything apart."""

from __future__ import annotations

from loadtest.analysis.schema import Ranked, Ranking, Report
from loadtest.report.format import figure, plural, significant
from loadtest.report.text import MEASURES

FURTHER = ("latency_alone", "latency_open", "cpu", "cost", "memory", "start", "size")
"""The rankings that stand folded under `What to choose`; the first screen has throughput."""
EXACT = ("peak_rss_bytes", "size_bytes")
"""Figures without an interval by their nature: they are compared by their digits."""


def leading(report: Report) -> Ranking | None:
    """The ranking of the first screen: throughput, or the first that there is where nothing was loaded."""
    return report.ranking("throughput") or next(iter(report.rankings), None)


def further(report: Report) -> list[Ranking]:
    """The other rankings, in the order of FURTHER."""
    rankings = [ranking for name in FURTHER if (ranking := report.ranking(name)) and ranking.ranked]
    return [ranking for ranking in rankings if ranking != leading(report)]


def caption_of(report: Report, ranking: Ranking) -> str:
    """What a ranking's figure is, with the load or the price that it was taken at."""
    rate = report.design.open_load
    return MEASURES[ranking.figure].caption.format(
        users=plural(report.design.users, "user"),
        rate=f"{significant(rate.rate_rps)} requests/s" if rate else "requests on a schedule",
        price=price(report),
    )


def price(report: Report) -> str:
    """The stated price of a vCPU-hour."""
    return "an unstated price" if report.price_per_vcpu_hour is None else f"{report.price_per_vcpu_hour:g}"


def tells_apart(ranking: Ranking) -> bool:
    """Whether the tiers rest on intervals; one start of every server gives none."""
    return ranking.inferred and bool(ranking.ranked) and ranking.ranked[0].figure.low is not None


def first_tier(ranking: Ranking) -> list[Ranked]:
    """The best endpoint and all that are no worse: not told apart from it, or the same digits of an exact figure."""
    best = ranking.ranked[0]
    if tells_apart(ranking):
        return [row for row in ranking.ranked if row.tier == best.tier]
    if ranking.figure not in EXACT:
        return [best]
    printed = figure(ranking.figure, best.figure.value)
    return [row for row in ranking.ranked if figure(ranking.figure, row.figure.value) == printed]
