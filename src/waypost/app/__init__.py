"""The use cases. Each use case is a synchronous function that takes a transaction and the values that it needs."""
