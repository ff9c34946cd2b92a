"""The only SQL of the system: embedded server, connections, migrations, and a module per table."""
