"""Dispatch: the day's plan of all distributed energy resources, checked on the AC grid."""
