"""The study file: its keys, how it is read, and what can be known to be wrong with it."""
