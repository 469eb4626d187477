"""Envelopes, coverage and calibration of ensemble predictions."""
