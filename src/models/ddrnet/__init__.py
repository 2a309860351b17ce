"""DDRNet, the two-branch baseline RDRNet is measured against."""
