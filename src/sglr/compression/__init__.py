"""Compress smashed data and gradients, with error feedback for each sender."""
