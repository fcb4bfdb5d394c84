"""From tables to tensors, by a schema."""
