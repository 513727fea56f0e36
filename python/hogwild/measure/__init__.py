"""Measuring forwards of a model on this machine, and saying what limits them."""
