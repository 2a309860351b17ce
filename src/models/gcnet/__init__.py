"""GCNet, RDRNet's successor: more paths in each re-parameterisable block, which a deployed network does not see."""
