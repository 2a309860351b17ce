"""Compressed video: encoding, decoding, damage, block motion and what is chained from it. No networks."""
