"""How much leaks: each measure is a pure function of tensors, and answers with an interval."""
