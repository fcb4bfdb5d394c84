"""Tasks, one file each: what a network learns. They import core and metrics, and nothing else."""
