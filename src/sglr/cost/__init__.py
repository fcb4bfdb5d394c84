"""What training costs: communication, computation and energy, added up from events."""
