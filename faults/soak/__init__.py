"""Runs a server under mixed load for a long time, and checks that nothing grows except the data that it must keep."""
