"""Makes the parts of a service from its settings. There is one module for each role. `service` starts the parts."""
