"""Cuts the power of a server, as far as its files show it: what no fsync has made durable may be lost."""

from faults.power_cut.layer import PowerCut
from faults.power_cut.lost import Lost

__all__ = ["Lost", "PowerCut"]
