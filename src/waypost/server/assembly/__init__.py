"""Makes the parts of a service from its settings, with one module for each role. It does not start the parts."""
