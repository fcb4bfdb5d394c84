"""Training between sites: a server, the clients that join it, and what their operators ask."""
