"""What a trained run leaks, measured and attacked, from its folder."""
