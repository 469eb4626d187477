"""Properties, one file each; importing this package registers them all."""

from snapuq.properties import (
    barrier,
    divacancy,
    elastic,
    eos,
    gamma_line,
    interstitial,
    phase,
    phonon,
    surface,
    transformation,
    vacancy,
)
from snapuq.properties.base import PROPERTIES, Property, PropertyOutput, bind, build_params

__all__ = [
    "PROPERTIES",
    "Property",
    "PropertyOutput",
    "barrier",
    "bind",
    "build_params",
    "divacancy",
    "elastic",
    "eos",
    "gamma_line",
    "interstitial",
    "phase",
    "phonon",
    "surface",
    "transformation",
    "vacancy",
]
