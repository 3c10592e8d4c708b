"""The commands: parsers, options and exit codes. Each command's work is a function of another folder."""
