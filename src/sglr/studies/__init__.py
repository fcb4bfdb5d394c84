"""Many runs: comparisons, sweeps, reproductions of papers, and the scheduler that trains them."""
