"""The use cases, one function each: plain synchronous code over a transaction and explicit values."""
