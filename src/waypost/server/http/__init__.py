"""The HTTP listener, with bounds on what a client may send and how long it may take."""
