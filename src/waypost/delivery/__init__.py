"""The sending edge: carries queued deliveries out over their routes, and says what came of it."""
