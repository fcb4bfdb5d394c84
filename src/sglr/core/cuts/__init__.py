"""Clients that are cut at different places: which rows of a step and which layers belong to which cut."""

from __future__ import annotations
