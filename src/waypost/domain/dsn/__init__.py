"""Delivery status notifications (RFC 3464): notices that are written, and reports that are read."""
