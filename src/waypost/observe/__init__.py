"""What happens, as events, and who is told of it."""
