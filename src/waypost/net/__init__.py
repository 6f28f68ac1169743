"""What several edges need of the network: DNS answers up to a limit, and TLS handshakes that tell why they fail."""
