"""Use cases of messages: accepting, explaining and tracing them, and how long they are kept."""
