"""How much leaks: each measure is a pure function of tensors and returns an estimate with its interval."""
