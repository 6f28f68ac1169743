"""Makes the parts of a service from its settings, a file for each role. Nothing made here has begun to work yet."""
