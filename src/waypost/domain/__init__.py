"""The business rules, written as pure functions: they use no I/O, clock, randomness or framework."""
