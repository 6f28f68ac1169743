"""Use cases of instances, email addresses, alias links, tags and access keys."""
