"""Claim deliveries from the queue and attempt them, with a fair share for each destination."""
