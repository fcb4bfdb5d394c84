"""The command line, one file for each command. It picks nothing, computes nothing and touches no tensor."""
