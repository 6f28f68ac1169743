"""API requests and responses as HTTP: the published model, its shapes and constraints, and both protocols."""
