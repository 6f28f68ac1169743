"""The implementation of the store on PostgreSQL."""
