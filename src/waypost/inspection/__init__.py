"""The inspection API, which shows inboxes, traces, the queue and explanations to people and tests."""
