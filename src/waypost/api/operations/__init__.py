"""The operations of the API: the table of operations, and one module for each type of resource."""
