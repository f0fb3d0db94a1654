"""Commands that run many times, or look at what was run."""
