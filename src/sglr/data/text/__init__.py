"""From texts to sequences of tokens."""
