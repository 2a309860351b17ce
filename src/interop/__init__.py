"""Checkpoints of the official repositories, loaded into our networks."""
