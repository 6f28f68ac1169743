"""The spans for OpenTelemetry: which the server makes, how their contexts are derived, and how they are sent.

A span describes one piece of work, with its beginning and end. The spans of a message have the same trace id, which is
the message id. Do not confuse an OpenTelemetry trace with the trace of a message, which is in the store.
"""
