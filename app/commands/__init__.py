"""The commands of ``verdigrid``, a module for each group."""
