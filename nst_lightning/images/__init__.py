"""Pixels: reading, writing, resizing, and the sample pictures."""
