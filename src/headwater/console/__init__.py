"""What an operator sees: one page, made of what the roles say of themselves.

model           what is on the page, and how it is made from the roles' answers, pure
sessions        what the metrics of sessions say, pure
service, api    asks the roles while somebody looks; the page and its parts, from `templates`
ports, config   what is needed from outside (`engines`), and the section `console`
"""
