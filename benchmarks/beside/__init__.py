"""What stands beside sglr in benchmarks/flower.py and benchmarks/cyclesl_code.py, and how both are driven."""
