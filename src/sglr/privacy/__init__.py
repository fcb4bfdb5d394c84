"""Leakage: attacks, defences and measures, on segments and smashed data of any method."""
