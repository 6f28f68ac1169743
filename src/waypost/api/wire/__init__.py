"""The HTTP form of API requests and responses: the published model, with shapes and constraints, and two protocols."""
