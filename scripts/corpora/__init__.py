"""Compares Waypost's parsers with other parsers, on public collections of mail. The collections are downloaded, and are
not part of the repository.
"""
