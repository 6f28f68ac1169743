"""The operations of the API: their table, and a file for each resource."""
