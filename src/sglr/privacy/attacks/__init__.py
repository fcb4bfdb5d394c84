"""Attacks, one file each: what somebody learns who sees a part of the training."""
