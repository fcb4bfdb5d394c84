"""Rules that divide samples among clients, one file each."""
