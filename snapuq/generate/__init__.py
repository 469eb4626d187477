"""Data sets made by the tool itself: diverse structures, labelled by a reference potential."""
