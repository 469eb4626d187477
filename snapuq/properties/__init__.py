"""Properties, one file each; importing this package registers them all."""

from snapuq.properties import elastic, eos, phase, surface, vacancy
from snapuq.properties.base import PROPERTIES, Property, PropertyOutput, bind, build_params

__all__ = [
    "PROPERTIES",
    "Property",
    "PropertyOutput",
    "bind",
    "build_params",
    "elastic",
    "eos",
    "phase",
    "surface",
    "vacancy",
]
