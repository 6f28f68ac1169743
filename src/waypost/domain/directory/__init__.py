"""Rules of instances, email addresses, alias links, tags and searches."""
