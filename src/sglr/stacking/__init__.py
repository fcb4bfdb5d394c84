"""Many copies of one segment, computed as one call."""
