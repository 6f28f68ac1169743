"""What people and their tests see: the inspection API over the inbox, the trace and the explanation."""
