"""`python -m headwater.cli` is the `headwater` command, for whoever knows the interpreter but not the path of the command."""

from headwater.cli.main import main

main()
