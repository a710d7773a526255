"""Decisions: values in, values out. Nothing in this folder reads a clock, a file or a network."""
