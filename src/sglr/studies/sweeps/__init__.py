"""Sweeps: a grid of settings in a file, all its configurations trained, one table and one report."""
