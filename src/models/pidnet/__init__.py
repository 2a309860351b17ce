"""PIDNet, the three-branch baseline RDRNet is measured against."""
