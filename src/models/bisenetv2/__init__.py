"""BiSeNetV2, the two-branch rival without a pretrained backbone."""
