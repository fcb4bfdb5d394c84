"""Rules for merging the clients' weights, one file each."""
