"""Defences: each file is one, found by its name (`sglr.core.registry.DEFENCES`)."""
