"""PSPNet."""
