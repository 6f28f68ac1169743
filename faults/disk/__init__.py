"""Makes system calls on a server's files fail, as a failing or full disk does."""

from faults.disk.layer import ALWAYS, DiskFaults

__all__ = ["ALWAYS", "DiskFaults"]
