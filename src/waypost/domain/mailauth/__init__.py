"""The rules of sender authentication: SPF, DKIM and DMARC results, the author's domain in From, and SRS."""
