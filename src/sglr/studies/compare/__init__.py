"""Compare methods over several seeds."""
