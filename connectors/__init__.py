"""Proper names of outside systems: every door in or out, and the embedded mode's in-process twins of them."""
