"""Pools over windows of height and width."""
