"""The resources of the machine: the data directory, sealed keys, certificates, disk space, and the clock."""
