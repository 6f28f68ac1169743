"""Use cases of deliveries that wait: claiming, recording attempts, redriving."""
