"""The rules for instances, email addresses, alias links, tags and searches."""
