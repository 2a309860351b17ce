"""Backends and precisions in which the networks of a video method run."""
