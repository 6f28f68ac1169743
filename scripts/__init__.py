"""Scripts for developers of Waypost."""
