"""The inspection API, for people and tests: inboxes, traces, the queue and explanations."""
