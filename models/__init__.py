"""Nouns, pure: contracts, mining, windows, baselines, confidence, policy, the workflow.

Nothing here reads a clock, draws a random number, logs, or touches a file or a socket: equal bytes in, equal bytes out.
"""
