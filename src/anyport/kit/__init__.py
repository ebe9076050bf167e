"""Helpers that a target may call; never base classes."""
