"""Access control for calls: authentication with SigV4, authorisation with IAM policies, and throttling."""
