"""Wire protocols to readings: decode, map, flag, batch, commit, and only then acknowledge."""
