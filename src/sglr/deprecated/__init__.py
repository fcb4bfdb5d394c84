"""Names of the release before, which still work and warn."""
