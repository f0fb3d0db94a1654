"""Images: reading, writing, resampling, colors, guides, contact sheets, and the built-in samples."""
