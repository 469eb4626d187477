"""Why a task gave no value, or one that is not to be trusted: machine word to plain sentence."""

from __future__ import annotations

from collections.abc import Mapping

#: A relaxation that stopped above its tolerance: a failure, or a flag of a task that gave a value.
NOT_CONVERGED = "not_converged"
#: Atoms that left the configuration that was asked about: a failure, or a flag.
RECONFIGURED = "reconfigured"

#: Each sentence explains its word to a reader of the report; a word that is missing here is shown as it is.
REASONS: Mapping[str, str] = {
    "bad_box": "The simulation cell became impossible: no volume, or too oblique.",
    "bad_potential": "LAMMPS could not read the files of the potential.",
    "bug": "An error that nobody foresaw; the task is run again when the campaign goes on.",
    "coincident_atoms": "Two atoms lie in the same place.",
    "collapsed": "A relaxation let atoms fall into each other.",
    "crashed": "LAMMPS ended the process that it ran in.",
    "lammps_error": "LAMMPS refused a command.",
    "lost_atoms": "Atoms left the simulation cell.",
    "missing_file": "A file that LAMMPS needs could not be opened.",
    "neighbor_overflow": "More neighbours than LAMMPS has room for: the atoms lie far too close.",
    "no_first_order": "The value cannot be predicted from the relaxed state of the MLE.",
    "no_minimum": "The energy has no minimum in the range that was searched.",
    "no_saddle": "No point of the path is a saddle: bands ended where no mode is negative, or several are.",
    NOT_CONVERGED: "A relaxation stopped above its tolerance.",
    "not_finite": "An energy, a force, a position or a result is infinite or not a number.",
    "out_of_memory": "The task needed more memory than there is.",
    RECONFIGURED: "Atoms left the configuration that was asked about.",
    "runaway": "A relaxation changed the volume by more than a factor of two.",
    "time_limit": "The task took longer than its time limit.",
    "unknown_element": "The structure holds an element that the potential does not know.",
    "unstable": "The crystal is unstable: it gives way instead of coming to rest.",
}
