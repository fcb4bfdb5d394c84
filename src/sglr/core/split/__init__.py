"""Cut a model in two: the client's lower segment and the server's upper segment."""

from __future__ import annotations

from sglr.core.split.cut import cut_points, split
from sglr.core.split.segments import Split, check_segments

__all__ = ["Split", "check_segments", "cut_points", "split"]
