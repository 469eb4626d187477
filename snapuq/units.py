"""Units and conversion factors.

Inside snapuq: energies eV, lengths A, forces eV/A, stress eV/A^3 (Voigt xx yy zz yz xz xy, tension
positive, as in ASE). Reports show stress and moduli in GPa.
"""

from __future__ import annotations

# LAMMPS's own metal-units factor (nktv2p); FitSNAP uses the same, so that rows, stress targets and
# FitSNAP's weights agree to the last digit with both.
BAR_PER_EV_A3 = 1.6021765e6
GPA_PER_EV_A3 = BAR_PER_EV_A3 * 1.0e-4

#: Eight significant digits are not enough to restart from; 17 are exact for a double.
EXACT = "{:.17g}"
