"""Sphinx settings of the manual and of the API reference, which `make docs` writes from the docstrings."""

project = "snapuq"
copyright = "the snapuq developers"
root_doc = "index"
extensions = ["sphinx.ext.autodoc", "numpydoc"]
numpydoc_show_class_members = False
html_theme = "alabaster"
autodoc_typehints = "none"
