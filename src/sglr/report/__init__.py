"""From a run folder to pages and plots that can be read anywhere."""
