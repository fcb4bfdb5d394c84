"""Files written whole, locks and checkpoints."""
