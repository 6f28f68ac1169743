"""The metrics: the table of what is counted, the counters in memory, and the page that Prometheus reads."""
