"""From recordings to tensors: one rate, one length, waves or log-mel spectrograms."""
