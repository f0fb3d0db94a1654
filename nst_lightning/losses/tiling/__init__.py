"""The objective evaluated tile by tile, on one device or many, exact to rounding."""
