"""How much of the server one client may have, and for how long."""
