"""Plan the tasks of a campaign, run them on all ranks, and go on where an earlier run stopped."""
