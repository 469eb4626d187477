"""Uncertainty quantification of linear models: streamed least squares, POPS, calibration."""
