"""The HTTP listener, with limits on the size and the duration of a client's requests."""
