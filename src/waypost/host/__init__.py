"""What Waypost uses of its machine: the data directory, sealed keys, certificates, disk space, the clock."""
