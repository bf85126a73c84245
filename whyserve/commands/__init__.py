"""One module a subcommand, each holding `command`; heavy libraries are imported when it runs."""
