"""Rules of sender authentication: SPF, DKIM and DMARC results, the author in From, SRS."""
