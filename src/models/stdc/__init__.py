"""STDC-Seg, BiSeNet with a backbone of its own and a detail loss."""
