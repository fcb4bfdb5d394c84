"""How smashed data and gradients are written in fewer bytes, with error feedback for each sender."""
