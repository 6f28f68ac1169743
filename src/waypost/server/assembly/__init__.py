"""Makes the parts of a service from its settings, with one module for each role. Nothing here starts a part."""
