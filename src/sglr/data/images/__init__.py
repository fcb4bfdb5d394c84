"""From image files and pixel arrays to tensors in [-1, 1]."""
