"""The command `nst`: a file for each of its commands."""
