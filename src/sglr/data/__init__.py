"""Loading data and dividing it among clients. Knows no model."""
