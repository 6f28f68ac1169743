"""Access control for calls: authentication with SigV4, authorization with IAM policies, and throttling."""
