"""Write a trained network as files that run without sglr, and check them against the original."""
