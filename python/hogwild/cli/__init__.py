"""The command line: every command reads the engine's one stream of events."""
