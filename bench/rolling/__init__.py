"""Two weeks of a grid replayed: planned from what was known, done by the devices, priced on AC."""
