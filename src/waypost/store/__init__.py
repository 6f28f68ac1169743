"""The implementations of `app.ports.Store`, for SQLite and for PostgreSQL.

The store's SQL is in `.sql` files. Named constraints in the database schema enforce the invariants of the data. The
store contains no domain rules.
"""
