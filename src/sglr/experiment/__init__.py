"""Train one experiment, record it in its run folder, and resume it."""
