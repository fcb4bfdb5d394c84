"""From NIfTI volumes to tensors: one orientation, one shape, intensities in one range."""
