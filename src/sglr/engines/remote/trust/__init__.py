"""Who is who on the wire: a private authority per run, join tokens, certificates, and what to say when they fail."""

from __future__ import annotations
