"""A small ticket system: a customer writes to a public email address, and the message becomes a ticket of a team."""
