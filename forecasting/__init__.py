"""What comes next: PV, load and other generation as quantiles, and how good they were."""
