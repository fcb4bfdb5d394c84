"""What training costs: communication, computation and energy. Folds events into figures."""
