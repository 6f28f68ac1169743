"""What both databases share: transactions of named queries, and rows as values."""
