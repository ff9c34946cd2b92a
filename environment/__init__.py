"""Air indices, water losses and the rules that raise alerts on them."""
