"""What training costs: communication, later computation and energy. Folds events into figures."""
