"""The HTTP listener, with limits on what a client may send and how long it may take."""
