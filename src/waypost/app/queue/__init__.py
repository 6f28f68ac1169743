"""Use cases for the queue: claim deliveries, record the results of attempts, and redrive dead letters."""
