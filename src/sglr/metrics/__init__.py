"""Scores made of sums over samples: torchmetrics' metrics as sums, by name or the user's own, and their intervals."""
