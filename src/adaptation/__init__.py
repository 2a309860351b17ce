"""Adaptation of a video method to videos without labels: its other frames learn from its own keyframe network."""
