"""Rate limits, and fair shares of limited resources."""
