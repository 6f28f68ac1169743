"""Rates, and fair shares of bounded resources."""
