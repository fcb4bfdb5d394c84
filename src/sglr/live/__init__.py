"""A page in the browser that shows runs while they train, and stops them on request."""
