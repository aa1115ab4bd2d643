"""The `headwater` command: parses, calls, prints. It decides nothing.

main            the tree of commands, each of which leads to one of those below; `__main__` starts it by name of the package
serving         `up`, `serve`, `check`; `serving_sessions` is `serve sessions`, which loads no other service
sessions        `sessions`
tables          `tables`: `tables_asking` one question each, `tables_exporting`, `tables_moving` around `tables_importing`; under those
                `tables_lines` of a file and `tables_groups` of them, `tables_checking` without a write, `tables_progress` noted and shown
doctoring       `doctor`
demonstrating   `demo`
asking          `status`, `explain`
following       `follow`; `flowing` shows edits on their way, here and in the demo
backfilling     `backfill`
letters         `dead-letters`
roles           talks to running roles, over what `connecting` opens
options         what many commands take
output, exits   how commands print and end
reference       `make docs`
"""
