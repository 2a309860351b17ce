"""BiSeNet."""
