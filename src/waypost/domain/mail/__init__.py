"""Rules of messages, routes, deliveries and retention."""
