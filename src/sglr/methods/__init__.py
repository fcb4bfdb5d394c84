"""Training methods, one file each. They import core and nothing else."""
