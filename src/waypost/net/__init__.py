"""What several edges need of the network.

DNS answers up to a limit, why a host has no address, and TLS handshakes that tell why they fail.
"""
