"""A deterministic simulation of several servers on one database, with faults between any two of their steps.

The use cases, the delivery worker, the reception of mail, the maintenance and the SQLite store's batches, drafts and
queries are those of Waypost. The event loop, the clocks, the clients and the peers are simulated. Everything that
happens depends on one seed, so a seed that fails can be replayed exactly. `docs/decisions/0067-simulation.md` explains
what is real, what is simulated, and why.
"""
