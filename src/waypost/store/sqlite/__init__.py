"""The implementation of the store on SQLite."""
