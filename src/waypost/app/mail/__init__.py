"""Use cases for mail: accept, trace, explain and delete messages, send notices, and manage routes."""
