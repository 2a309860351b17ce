"""EfficientViT-Seg, convolutions and linear attention at strides 16 and 32."""
