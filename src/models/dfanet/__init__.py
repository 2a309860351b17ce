"""DFANet: deep feature aggregation (Li et al., CVPR 2019)."""
