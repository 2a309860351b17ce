"""Fast-SCNN, the lightest rival."""
