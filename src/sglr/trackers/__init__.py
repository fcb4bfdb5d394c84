"""Trackers: programs beside sglr that keep the figures of many runs; one file each."""
