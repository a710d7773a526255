"""The one time limit for everything that tests wait for."""

import os

HANGS = float(os.environ.get("VMFERRY_HANGS", "120"))
"""Seconds after which something has hung. It says nothing about speed: a busy machine may take as
long as it likes, so nothing that works comes near it. Shorter while one mends what hangs."""
