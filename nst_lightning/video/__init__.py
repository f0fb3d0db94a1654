"""Videos: reading frames, writing them with their sound, motion between them, and flicker."""
