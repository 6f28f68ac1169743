"""The wheel, the source distribution, the container image, and their checks."""
