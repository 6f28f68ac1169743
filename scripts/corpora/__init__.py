"""Public collections of mail, and what others make of them. They are fetched, and not kept here."""
