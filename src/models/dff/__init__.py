"""Propagation of a keyframe's features: Deep Feature Flow, and Accel on top of it."""
