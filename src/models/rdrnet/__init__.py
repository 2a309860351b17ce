"""RDRNet, a two-branch network with re-parameterisable blocks; DDRNet and PIDNet share its parts."""
