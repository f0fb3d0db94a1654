"""The page of `nst app`: visitors bring images, ask for jobs, which are command lines, and watch them run."""
