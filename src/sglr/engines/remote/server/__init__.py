"""The server's side of the network: connections, admission, requests, checks of what clients send."""
