"""The vocabulary of every package: quantities, units, time, readings, findings, errors."""
