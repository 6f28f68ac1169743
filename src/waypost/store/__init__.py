"""The implementations of `app.ports.Store`, for SQLite and for PostgreSQL.

The SQL of the store is in files, and named constraints of the schema enforce the invariants. The store contains no
domain rules.
"""
