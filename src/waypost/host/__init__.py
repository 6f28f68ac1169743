"""The machine's resources: the data directory, sealed keys, certificates, disk space, and the clock."""
