"""What every part builds on: protocols, the one training loop, the split. Knows no concrete part."""
