"""The line of an epoch, in a terminal and in a notebook."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sglr.core.events import EpochDone
from sglr.report.numbers import count, decimal
from sglr.report.score_style import ACCURACY, OVER_CLIENTS, ScoreStyle, headline


def epoch_line(event: EpochDone) -> str:
    """Return the results of a finished epoch, in columns aligned over epochs."""
    record, score = event.record, headline(None, [event.record])
    parts = [
        f"epoch {event.epoch + 1:>{len(str(event.epochs))}}/{event.epochs}",
        f"loss {decimal(record.get('loss'))}",
        _training(record, score),
        _validation(record, score),
        f"{count(record['samples'] / max(record['seconds'], 1e-9)):>6} samples/s",
    ]
    return "  ".join(part for part in parts if part)


def latest_score(record: Mapping[str, Any]) -> str:
    """Return the epoch's validation score, or that of training if there was no validation; empty without either."""
    score = headline(None, [record])
    value = record.get(score.validation, record.get(score.training))
    return "" if value is None else f"{'acc' if score.name == ACCURACY else score.title} {score.write(value)}"


def shown_with_name(value: float | None, score: ScoreStyle) -> str:
    """Return a score, with its name unless it is the accuracy, which percents tell."""
    return score.write(value) if score.name == ACCURACY else f"{score.title} {score.write(value)}"


def _training(record: Mapping[str, Any], score: ScoreStyle) -> str:
    """Write the training's score, which is the share of what is right where the headline can't be told of training."""
    known = next((one for one in (score, ScoreStyle()) if one.training in record), None)
    name = "train" if known == score else "train acc"
    return "" if known is None else f"{name} {known.write(record[known.training]):>7}"


def _validation(record: Mapping[str, Any], score: ScoreStyle) -> str:
    value, spread = record.get(score.validation), record.get(f"{score.validation}{OVER_CLIENTS}")
    name = "val" if score.name == ACCURACY else f"val {score.title}"
    return "" if value is None else f"{name} {score.write(value):>7} {score.spread(spread):<6}"
