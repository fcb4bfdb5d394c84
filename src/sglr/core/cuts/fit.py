"""Which methods clients that are cut at several places can train with."""

from __future__ import annotations

from sglr.core.method import Method


def why_not_several(method: Method | type[Method]) -> str:
    """Return why clients of a method can't be cut at several places; empty if they can."""
    if method.whole_model:
        return "has no cut: clients hold the whole model"
    if method.head:
        return "has heads at the clients, whose shape is that of one cut"
    if method.decodes:
        return "has decoders at the clients, whose shape is that of one cut"
    if method.mixes:
        return "mixes what different clients send, which has another shape at each cut"
    return ""
