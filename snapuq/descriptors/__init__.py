"""Design-matrix rows of SNAP: bispectrum components from LAMMPS, products of them, assembly."""
