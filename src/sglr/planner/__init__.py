"""What an epoch would cost with every method and cut, without training: sent, computed, energy, time."""
