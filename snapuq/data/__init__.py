"""Readers of ab initio data, train/test splits and loss weights.

Importing this package registers the readers: each is one module with one registered function.
"""

from snapuq.data import ase_readable, fitsnap_input, fitsnap_json
from snapuq.data.reader import READERS, read_dataset

__all__ = ["READERS", "ase_readable", "fitsnap_input", "fitsnap_json", "read_dataset"]
