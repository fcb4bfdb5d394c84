"""Whether a process may be forked once everything is imported, so that others share its memory and start at once."""

import sys

FORKS = sys.platform == "linux"
"""Elsewhere, libraries of the system may not survive it."""
