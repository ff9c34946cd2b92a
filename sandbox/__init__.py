"""A simulated city for newcomers, load tests and what-if: it speaks only through the wire.

Nothing here is measured anywhere. The grid and its year of profiles are SimBench's, the air is
a plume model over a wind inferred from the wind profiles, the water network is computed by
EPANET, names and enterprises are invented. Every series and the site itself are marked as
simulated. The rest of the system learns of it as it would of a real city: by its description
(``sandbox.city.describe``), its messages and its history file.
"""
