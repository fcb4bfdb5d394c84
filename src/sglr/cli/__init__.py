"""The command line, one file per command. It only parses input and prints results."""
