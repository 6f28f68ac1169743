"""Events, incidents and the log, and the supervision of background tasks."""
