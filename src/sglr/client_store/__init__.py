"""Clients at rest: what each of them holds between its rounds, in host memory or on disk."""
