"""Pages and charts of runs, as files that open offline."""
