"""Sparse features of a site: autoencoders trained or loaded, languages found, features changed."""
