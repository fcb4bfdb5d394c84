"""Networks, plain modules with named cut points, one file each. They know no cut and no client."""
