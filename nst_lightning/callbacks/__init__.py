"""Observers of a run: they watch and write, the method does not depend on them."""
