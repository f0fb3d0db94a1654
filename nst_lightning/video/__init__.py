"""Videos: reading frames, writing them with sound, optical flow and warping, and animated images."""
