"""Ways to turn finished runs into what a table or figure shows; one file each, named by ``kind`` in a declaration."""
