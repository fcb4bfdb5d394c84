"""What a summary tells of a test: the scores of every task, and the figures of some, in the form that reports draw.

`Task.figures` returns any of the keys of `Figures`; they stand beside the scores in ``summary["test"]``. All values are
plain: JSON holds them, so that reports are drawn from old run folders, too. A figure that a run lacks is not drawn.
"""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

MOST_CLIENTS = 1000
"""Clients whose scores are told one by one, at most: of more, those at evenly spaced ranks."""


class Score(TypedDict):
    """A score of the test, over all clients.

    Attributes
    ----------
    mean, std_over_clients
        Over the clients that have it.
    low, high
        Bounds of the 95 % interval of the mean, by a bootstrap over parts of the test; None where it is unknown.
    pooled
        The score of all clients' predictions together; None where it is unknown.
    """

    mean: float | None
    std_over_clients: float | None
    low: float | None
    high: float | None
    pooled: float | None


class Roc(TypedDict):
    """A ROC curve: points by falling threshold, from (0, 0) to (1, 1). Shares in [0, 1]."""

    false_positive_rate: list[float]
    true_positive_rate: list[float]
    name: NotRequired[str]


class Reliability(TypedDict):
    """How often what was predicted with a confidence came true, by bins of confidence.

    Attributes
    ----------
    confidence
        Mean predicted probability of the samples in each bin, in [0, 1]; None in an empty bin.
    frequency
        Share of these samples that are positive (binary), or right (classification), in [0, 1]; None in an empty bin.
    count
        Samples in each bin.
    """

    confidence: list[float | None]
    frequency: list[float | None]
    count: list[int]


class Residuals(TypedDict):
    """Predicted against true values, as a histogram.

    Attributes
    ----------
    edges
        Bounds of the bins, ascending, n + 1 of them, of true and of predicted values alike. The outermost bins hold
        what is beyond.
    counts
        Samples by true value (rows) and predicted value (columns), ``[n][n]``.
    name, unit
        What was measured, and in what, if known.
    """

    edges: list[float]
    counts: list[list[int]]
    name: NotRequired[str]
    unit: NotRequired[str]


class Label(TypedDict):
    """One of several findings, each present or absent (multi-label).

    ``support`` counts the samples that have it; scores are None where all samples have it, or none.
    """

    name: str
    auroc: float | None
    average_precision: float | None
    support: int


class ClassOfPixels(TypedDict):
    """How well the pixels of one class are found (segmentation); None where the class never occurs."""

    name: str
    iou: float | None
    dice: float | None


class Figures(TypedDict, total=False):
    """What a task may tell of a test beside scores.

    Attributes
    ----------
    roc, reliability, residuals
        One, or a list of several that have names, such as one for each outcome.
    per_label
        Of every label (multi-label).
    per_class
        Of every class: a `ClassOfPixels` (segmentation), or ``name``, ``support``, ``recall``, ``precision`` and ``f1``
        (classes of samples).
    per_target
        Of every target of a regression: ``name``, ``r2``, ``rmse`` and ``mae``.
    confusion
        Samples (or pixels) by true class (rows) and predicted class (columns).
    threshold
        The probability from which a sample is called positive (binary).
    majority_share
        The accuracy of always predicting the most frequent class.
    """

    roc: Roc | list[Roc]
    reliability: Reliability | list[Reliability]
    residuals: Residuals | list[Residuals]
    per_label: list[Label]
    per_class: list[ClassOfPixels] | list[dict[str, Any]]
    per_target: list[dict[str, Any]]
    confusion: list[list[int]]
    threshold: float | None
    majority_share: float | None


class Test(Figures, total=False):
    """The content of ``summary["test"]`` that reports of all tasks read.

    Attributes
    ----------
    headline
        Name of the score that tells how good the network is.
    higher_is_better
        Whether more of the headline is better.
    unit
        Of measurements, such as "mm Hg": errors like ``mae`` and ``rmse`` are in it.
    scores
        Every score by name, the headline first.
    per_client
        By name of a score: its value for every client, None where a client has none. Of at most `MOST_CLIENTS`.
    loss
        Mean loss of the test.
    epoch
        Whose weights were tested, counted from 1.
    """

    headline: str
    higher_is_better: bool
    unit: str
    scores: dict[str, Score]
    per_client: dict[str, list[float | None]]
    loss: float
    epoch: int


class Example(TypedDict):
    """A sample of a segmentation: in ``examples.json`` of the run folder, beside the summary.

    Attributes
    ----------
    picture
        Grey values ``[h][w]``: of a picture with several channels their mean, of a volume its middle slice.
    truth, prediction
        The class of every pixel, ``[h][w]``.
    """

    picture: list[list[float]]
    truth: list[list[int]]
    prediction: list[list[int]]
