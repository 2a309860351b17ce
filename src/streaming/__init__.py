"""Networks run frame by frame on a film of any length."""
