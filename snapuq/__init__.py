"""Trustworthy error bars on what SNAP interatomic potentials predict."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("snapuq")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"
