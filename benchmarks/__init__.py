"""Benchmarks are scripts; the studies of several files are run as modules."""
