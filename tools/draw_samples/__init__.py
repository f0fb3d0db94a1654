"""The code that draws the built-in images, in numpy and pillow, seeded and deterministic.

`python -m tools.draw_samples OUT_FOLDER` redraws all five; each module named after a
image has a `draw(width)`. Nothing at run time imports this package: the images are shipped beside it.
"""
