"""Clients at rest: the state of each client between its rounds, in host memory or on disk."""
