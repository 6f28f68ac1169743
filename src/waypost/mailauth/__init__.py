"""Who really sent a message: SPF, DKIM and DMARC, checked in a process of their own, which hostile mail may break."""
