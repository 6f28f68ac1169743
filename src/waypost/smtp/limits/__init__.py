"""The limits on the connections, messages, memory and time that one SMTP client may use."""
