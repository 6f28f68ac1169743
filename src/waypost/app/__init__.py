"""The use cases. Each use case is one synchronous function that takes a transaction and explicit values."""
