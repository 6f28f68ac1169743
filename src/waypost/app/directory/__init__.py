"""Use cases for instances, email addresses, alias links, tags and access keys."""
