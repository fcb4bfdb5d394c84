"""From settings to parts: a training is built, checked, described and loaded again here."""
