"""Attempts as processes of this host, each under its own small supervisor.

Nothing is imported here: the supervisor imports this package, and every import delays the user's first instruction.
"""
