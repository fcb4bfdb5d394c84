"""Structured logs: one JSON object per line on standard error, for log collectors.

Only the fields named here are logged: numbers and short words besides the message, and never a token or key, even if
a message contains one.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sglr.cli.progress import Silent
from sglr.core.events import EpochDone

FIELDS = ("event", "client", "attempt", "epoch", "epochs", "step", "steps", "seconds", "bytes", "samples")
"""The fields of a record besides time, level and message."""

FIGURES = ("loss", "samples", "seconds", "up_bytes", "down_bytes")
SCORES = ("train_", "validation_")
"""The fields of an epoch's record, and the beginnings of the names of its scores."""

LONGEST = 2000
_SECRETS = re.compile(r"sglr1-[a-z2-7]{8,}|-----BEGIN [A-Z ]+-----.*?(-----END [A-Z ]+-----|\Z)", re.DOTALL)


class JsonLines(logging.Formatter):
    """Writes a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": without_secrets(record.getMessage()),
        }
        scores = [name for name in record.__dict__ if name.startswith(SCORES)]
        for name in (*FIELDS, *FIGURES, *scores):
            value = record.__dict__.get(name)
            if isinstance(value, str):
                told[name] = without_secrets(value)
            elif isinstance(value, bool | int | float):
                told[name] = value
        return json.dumps(told)


def without_secrets(text: str) -> str:
    """Return ``text`` without join tokens and keys, cut to the longest length for a log."""
    shown = _SECRETS.sub("[secret]", text)
    return shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}…"


def log_json(level: int = logging.INFO) -> logging.Handler:
    """Write the log as lines of JSON from now on, at level info and above."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger("sglr")
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(level)
    return handler


class Logged(Silent):
    """Log the progress of a training."""

    def observe(self, event: object) -> None:
        """Log a finished epoch."""
        if isinstance(event, EpochDone):
            record: Mapping[str, Any] = event.record
            figures = {name: value for name, value in record.items() if name in FIGURES or name.startswith(SCORES)}
            told = {"event": "epoch", "epoch": event.epoch + 1, "epochs": event.epochs, **figures}
            logging.getLogger("sglr.progress").info("epoch %d of %d", event.epoch + 1, event.epochs, extra=told)
