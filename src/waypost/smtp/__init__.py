"""The receiving edge: mail arrives by SMTP (RFC 5321), which is parsed strictly, and is accepted only when it is on
disk.
"""
