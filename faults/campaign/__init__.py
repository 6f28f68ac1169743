"""Injects faults into real servers, one after the other, and checks after each that nothing acknowledged is lost."""
