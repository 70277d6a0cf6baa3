"""Normalizations over channels."""
