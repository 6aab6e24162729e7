"""Engines: what runs a program. The SimPy engine is the definition of what is right."""
