"""Rules by which weights that clients share are merged, one file each."""
