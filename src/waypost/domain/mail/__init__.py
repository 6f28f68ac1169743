"""The rules for messages, routes, deliveries and retention."""
