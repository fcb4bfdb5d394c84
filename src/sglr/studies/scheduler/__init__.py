"""The trials of a study: each trained once, here, in several processes, or on a cluster."""
