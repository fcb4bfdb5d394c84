"""Claims of a paper, judged by a stated test: they hold, fail, or stay undecided."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

from sglr.studies.papers.declared import Claim

CONFIDENCE = 0.95

Figures = Mapping[tuple[str, str, int], float]
"""Figures by row, column and seed; what diverged has the figure of pure chance."""


@dataclass(frozen=True)
class Verdict:
    """What became of a claim.

    Parameters
    ----------
    claim
        The claim, in words.
    verdict
        ``"holds"``, ``"fails"`` or ``"undecided"``.
    test
        The test, in words.
    evidence
        The figures that decided.
    """

    claim: str
    verdict: str
    test: str
    evidence: str


def judge(claim: Claim, figures: Figures) -> Verdict:
    """Judge a claim by the differences of paired figures.

    Figures are paired one by one, of the same seed; the differences of one row and seed are averaged first, since they
    share data and weights.
    """
    verdict = TESTS[claim.test](claim, _differences(claim, figures))
    most = max((int(row) for row, _, _ in figures if row.isdigit()), default=claim.from_clients)
    if most >= claim.from_clients:
        return verdict
    reason = f"the paper shows it from {claim.from_clients} clients on, and here are {most} at most"
    return replace(verdict, verdict="undecided", evidence=f"{reason} ({verdict.evidence})")


def _differences(claim: Claim, figures: Figures) -> list[float]:
    rows = list(dict.fromkeys(row for row, _, _ in figures))
    seeds = sorted({seed for _, _, seed in figures})
    found = []
    less = claim.less or claim.more
    for upper, lower in zip(_chosen(claim.more["rows"], rows), _chosen(less["rows"], rows), strict=True):
        for seed in seeds:
            own = [
                figures[upper, left, seed] - (figures[lower, right, seed] if claim.target is None else claim.target)
                for left, right in zip(claim.more["columns"], less["columns"], strict=True)
                if (upper, left, seed) in figures and (lower, right, seed) in figures
            ]
            if own:
                found.append(fmean(own))
    return found


def _chosen(wanted: Sequence[str], rows: Sequence[str]) -> list[str]:
    """Return the rows meant: by label, or ``first``, ``last``, ``all``, or ``several`` (all but the first)."""
    groups = {"first": rows[:1], "last": rows[-1:], "all": rows, "several": rows[1:]}
    return [row for name in wanted for row in groups.get(name, [name])]


def _by_mean(claim: Claim, differences: Sequence[float]) -> Verdict:
    """Compare the t-interval of the mean difference with the margin."""
    test = (
        f"the {CONFIDENCE:.0%} t-interval of the mean paired difference lies above {claim.margin:g} "
        "(fails: below it); a pair is one row and seed"
    )
    if len(differences) < 2:
        return Verdict(claim.claim, "undecided", test, f"{len(differences)} pair(s): an interval takes two")
    from scipy import stats

    mean, error = fmean(differences), stdev(differences) / math.sqrt(len(differences))
    half = error * float(stats.t.ppf((1 + CONFIDENCE) / 2, len(differences) - 1))
    low, high = mean - half, mean + half
    verdict = "holds" if low > claim.margin else "fails" if high < claim.margin else "undecided"
    evidence = f"mean difference {_signed(mean)}, interval {_signed(low)} to {_signed(high)}, {len(differences)} pairs"
    return Verdict(claim.claim, verdict, test, evidence)


def _by_every(claim: Claim, differences: Sequence[float]) -> Verdict:
    """Require that every pair differs by more than the margin."""
    test = f"every pair (row and seed) differs by more than {claim.margin:g} (fails: none does)"
    if not differences:
        return Verdict(claim.claim, "undecided", test, "no pairs")
    more = sum(difference > claim.margin for difference in differences)
    verdict = "holds" if more == len(differences) else "fails" if more == 0 else "undecided"
    return Verdict(claim.claim, verdict, test, f"differences {_listed(differences)}")


def _by_all(claim: Claim, differences: Sequence[float]) -> Verdict:
    """Require the same of exact figures, where one exception refutes the claim."""
    test = f"every pair differs by more than {claim.margin:g} (fails: one does not)"
    exceptions = sum(difference <= claim.margin for difference in differences)
    verdict = "undecided" if not differences else "fails" if exceptions else "holds"
    told = (
        f"differences {_listed(differences)}"
        if exceptions
        else f"least difference {_signed(min(differences, default=0.0))}"
    )
    return Verdict(claim.claim, verdict, test, told)


def _by_equality(claim: Claim, differences: Sequence[float]) -> Verdict:
    """Require that all figures are within the margin of what they are compared with."""
    test = f"every figure is within {claim.margin:g} of what it is compared with (fails: one is not)"
    verdict = "undecided" if not differences else "holds"
    if any(abs(difference) > claim.margin for difference in differences):
        verdict = "fails"
    return Verdict(claim.claim, verdict, test, f"differences {_listed(differences)}")


def _listed(differences: Sequence[float]) -> str:
    return ", ".join(map(_signed, differences))


def _signed(value: float) -> str:
    return f"{value:+.4g}".replace("-", "−")


TESTS: Mapping[str, Callable[[Claim, Sequence[float]], Verdict]] = {
    "mean": _by_mean,
    "every": _by_every,
    "all": _by_all,
    "equal": _by_equality,
}
"""Tests by the name that a declaration gives."""
