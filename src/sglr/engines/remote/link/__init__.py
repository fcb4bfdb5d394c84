"""A network in a box: connections that are as slow as a described link, in user space."""
