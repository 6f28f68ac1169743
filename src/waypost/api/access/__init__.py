"""Who calls, what they may do, and how often: SigV4, IAM policies, throttling."""
