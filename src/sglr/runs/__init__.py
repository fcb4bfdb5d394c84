"""Settings and the run folder. Imports no torch."""
