"""Helpers that know nothing of images or training."""
