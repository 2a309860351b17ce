"""ERFNet, residual blocks of factorised convolutions."""
