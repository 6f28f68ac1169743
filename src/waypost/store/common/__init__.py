"""The code that the SQLite store and the PostgreSQL store share: it runs named queries, and converts rows to domain
values.
"""
