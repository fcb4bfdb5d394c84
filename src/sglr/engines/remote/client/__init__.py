"""A client's process: it connects to the server, answers its requests and trains its own segment."""
