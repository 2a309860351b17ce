"""AR-Seg: high resolution on keyframes, low resolution between them, fused at the features."""
