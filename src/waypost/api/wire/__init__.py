"""The HTTP form of API requests and responses: the published model, its shapes and constraints, and two protocols."""
