"""The machine: processor, memory, cache, accelerators, a Ray cluster."""
