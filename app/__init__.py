"""The composition root: settings, commands, web application, scheduler and the wiring of it all."""
