"""The two parties of split learning: blocks of clients and the server, with their defences, loss and evaluation."""
