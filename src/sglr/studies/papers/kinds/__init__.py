"""Ways to turn finished cells into what a table or figure shows; one file each, named by ``kind`` in a declaration."""
