"""Many experiments as cells of a grid: each trained once, in a run folder named by the hash of its settings."""
