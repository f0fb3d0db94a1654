"""Contact sheets: rows of images with captions."""
