"""Frozen types that flow along the data path; numpy only."""
