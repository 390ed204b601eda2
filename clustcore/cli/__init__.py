"""The command line: `commands` has one function a command, `flags` draws them from the configs."""
