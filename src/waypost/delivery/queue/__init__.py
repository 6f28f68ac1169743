"""Takes deliveries from the queue and attempts them, fairly between destinations."""
