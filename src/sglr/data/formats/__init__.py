"""Files in the formats that public data sets are published in."""
