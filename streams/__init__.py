"""Verbs: the steps, the runtime that drives them, its hosts, and the command line."""
