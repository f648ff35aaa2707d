"""Identification methods, one file each; a new file here that registers itself is a new method."""
