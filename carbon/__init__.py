"""Emission factors, footprints and the rules of the ledger. Pure: no files but package data."""
