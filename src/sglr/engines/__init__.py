"""Where clients live, one engine each."""
