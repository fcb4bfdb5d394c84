"""Flower's app: the small CNN, its clients and its server."""
