"""Events, incidents, the log, and the supervision of background tasks."""
