"""CGNet, blocks that see each position with its surroundings and the whole image."""
