"""ICNet, an image cascade: a deep network on a small image, light ones on larger images."""
