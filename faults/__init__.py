"""Injects faults into real servers, and checks that nothing that they acknowledged is lost, doubled or changed."""
