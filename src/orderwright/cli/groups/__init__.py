"""Commands that belong together: `orderwright <group> <command>`. Each imports what it runs when it is called."""
