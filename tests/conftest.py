"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

# One thread per process: tests run beside each other and under mpirun.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

# The same examples in every run of the continuous integration; new ones everywhere else.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")

ARCHIVES = {
    "tantalum": "tantalum-fitsnap.tar.xz",
    "tungsten": "tungsten-dft-fitsnap-json.tar.xz",
    "tungsten-beryllium": "tungsten-beryllium-sample-fitsnap-json.tar.xz",
}


@pytest.fixture(scope="session")
def dft_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the unpacked DFT sets; the test is skipped where SNAPUQ_DATA is not set."""
    source = os.environ.get("SNAPUQ_DATA")
    if not source:
        pytest.skip("SNAPUQ_DATA does not name the folder of the reference DFT sets")
    folder = tmp_path_factory.mktemp("dft")
    for name in ARCHIVES.values():
        with tarfile.open(Path(source) / name) as archive:
            # Python before 3.10.12 and 3.11.4 has no filters; the archives are known.
            if hasattr(tarfile, "data_filter"):
                archive.extractall(folder, filter="data")
            else:
                archive.extractall(folder)
    return folder
