"""The code that both databases share: it runs named queries in transactions, and converts rows to values."""
