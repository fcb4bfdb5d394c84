"""How methods mix what several clients sent: their smashed data, or the gradients by their outputs."""
