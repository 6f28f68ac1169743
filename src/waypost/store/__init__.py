"""The adapters of `app.ports.Store`: SQL in files, invariants as named constraints, no rules."""
