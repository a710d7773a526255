"""The one limit of everything that tests wait for."""

HANGS = 120.0
"""Seconds after which something has hung. It says nothing about speed: a busy machine may take as
long as it likes, so nothing that works comes near it."""
