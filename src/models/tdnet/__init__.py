"""TDNet: temporally distributed networks (Hu et al., CVPR 2020)."""
