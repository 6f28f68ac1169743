"""Makes the parts of a service from its settings, with one module for each role. `service` starts the parts."""
