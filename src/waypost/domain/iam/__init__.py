"""Who may do what: the IAM policy language, read and decided as the IAM User Guide says."""
