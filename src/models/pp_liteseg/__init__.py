"""PP-LiteSeg, attention-weighted fusions in a light decoder on an STDC backbone."""
