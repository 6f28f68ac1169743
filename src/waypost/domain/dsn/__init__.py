"""Delivery status notifications (RFC 3464): Waypost writes its own notices, and reads the reports of other servers."""
