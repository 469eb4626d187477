"""Results: the journal of finished tasks, and tables made from it."""
