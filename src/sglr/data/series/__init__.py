"""From measurements in time to tensors: one length, standardised channels."""
