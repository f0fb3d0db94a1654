"""The code that draws the built-in pictures, in numpy and pillow, seeded and deterministic.

`python -m tools.draw_samples OUT_FOLDER` redraws all five; each module named after a
picture has a `draw(width)`. Nothing at run time imports this package: the pictures are shipped beside it.
"""
