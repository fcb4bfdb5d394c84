"""The machine's clock, and how a moment is written so that two machines can compare theirs."""

from __future__ import annotations

from datetime import UTC, datetime


def now_utc() -> datetime:
    """Read this machine's clock."""
    return datetime.now(UTC)


def written(moment: datetime) -> str:
    """Write a moment as ``2026-01-31 12:00:00 UTC``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
